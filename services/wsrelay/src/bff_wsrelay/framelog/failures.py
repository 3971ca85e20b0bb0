"""Why a run cannot be played, and the error that a client gets for it before its stream begins. Pure."""

import re
from typing import Literal, NamedTuple

from bff_shared.access.refusal import Refusal
from bff_shared.errors import BackendUnavailable, BffError, Busy, Internal, RequestError, RunNotFound, Unauthorized
from bff_wsrelay.websocket.close_codes import of_status

Code = Literal[
    "VALIDATION", "RANGE", "RUN_NOT_FOUND", "UNAUTHORIZED", "FORBIDDEN", "STREAM_ERROR", "TOO_LARGE", "BUSY", "INTERNAL"
]  # fmt: skip
RETRY_AFTER_SECONDS = 2.0


class FailureReason(NamedTuple):
    """Why a run cannot be played; `close` is the code that its viewers' connections end with."""

    code: Code
    message: str
    close: int


class Failure(Exception):
    """A run cannot be played. Create one where it is raised: a stored exception keeps its whole traceback alive."""

    def __init__(self, code: Code, message: str, close: int) -> None:
        super().__init__(message)
        self.reason = FailureReason(code, message, close)
        self.code, self.message, self.close = self.reason


REFUSED_STATUSES: dict[int, tuple[Code, str]] = {
    401: ("UNAUTHORIZED", "the backend does not accept these credentials"),
    403: ("FORBIDDEN", "the backend does not let this user see the run"),
    404: ("RUN_NOT_FOUND", "run not found"),
}


LONGEST_REASON = 200
# What is nobody's business outside: addresses with or without a scheme, files, credentials.
_PRIVATE = re.compile(
    r"""(?: [a-z][a-z0-9+.-]*://\S+ | \b(?:bearer|basic)\s+\S+ | \b(?:token|password|secret|key)\s*[=:]\s*\S+
    | \b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)? | \b[a-z][\w-]*(?:\.[\w-]+)+:\d{2,5}\b | \b[a-z][\w-]*:\d{4,5}\b
    | (?<![\w.])(?:[a-z]:)?[/\\][\w.-]+[/\\]\S* )""",
    re.VERBOSE | re.IGNORECASE,
)


def unstreamable(told: object) -> Failure:
    """Return a new exception for a run that the backend says it cannot stream, with its reason where there is one.

    The reason is shown as one line of at most 200 characters, without addresses, files and credentials.
    """
    message = "the backend cannot stream this run"
    reason = _PRIVATE.sub("…", told[: 10 * LONGEST_REASON]) if isinstance(told, str) else ""
    shown = "".join(character if character.isprintable() else " " for character in reason)
    line = " ".join(shown.split())[:LONGEST_REASON]
    return Failure("STREAM_ERROR", f"{message}: {line}" if line else message, 4424)


REFUSALS = frozenset(("UNAUTHORIZED", "FORBIDDEN", "RUN_NOT_FOUND"))
"""Failures that say that a reader may not watch a run, or that there is none for it."""


def resource_of(run_id: str) -> str:
    """Return the name of what the backend's verdict is about."""
    return f"run:{run_id}"


def refusal_of(error: Exception) -> Refusal:
    """Return what an exception of a call says of the access of the credentials that it was made with."""
    if not isinstance(error, Failure):
        return Refusal.NOTHING
    if error.code == "UNAUTHORIZED":
        return Refusal.CREDENTIAL
    return Refusal.RESOURCE if error.code in REFUSALS else Refusal.NOTHING


def failure_of_status(status: int) -> Failure:
    """Return a new exception for a status of the backend's that refuses a run for good."""
    code, message = REFUSED_STATUSES[status]
    return Failure(code, message, of_status(status))


class RunForbidden(RequestError):
    """The backend does not let this user see the run."""

    code, status = "FORBIDDEN", 403


class RunUnplayable(BackendUnavailable):
    """The run is there, and the backend cannot stream it; coming back does not help."""

    code, retryable = "STREAM_ERROR", False


class RunTooLarge(RunUnplayable):
    """The run has more frames than the relay keeps of one."""

    code = "TOO_LARGE"


def is_refused_early(failure: FailureReason) -> bool:
    """Return whether a WebSocket's handshake is refused for it: the backend does not know or accept the caller."""
    return failure.code in {"UNAUTHORIZED", "FORBIDDEN"}


def http_error(failure: FailureReason) -> BffError:
    """Return the error that says over HTTP what a failure says by its close code."""
    if failure.code == "BUSY":
        return Busy(failure.message, RETRY_AFTER_SECONDS)
    return _ERRORS.get(failure.code, RunUnplayable)(failure.message)


_ERRORS: dict[str, type[BffError]] = {
    "UNAUTHORIZED": Unauthorized,
    "FORBIDDEN": RunForbidden,
    "RUN_NOT_FOUND": RunNotFound,
    "TOO_LARGE": RunTooLarge,
    "INTERNAL": Internal,
}
