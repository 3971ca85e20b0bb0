"""Why a run cannot be played, and the error that a client gets for it before its stream begins. Pure."""

from typing import Literal, NamedTuple

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
