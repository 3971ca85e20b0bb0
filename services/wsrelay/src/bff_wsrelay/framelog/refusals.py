"""Which error a client gets, before its stream begins, for a run that cannot be played. Pure."""

from bff_shared.errors import BackendUnavailable, BffError, Busy, Internal, RequestError, RunNotFound, Unauthorized
from bff_wsrelay.framelog.topic import FailureReason

RETRY_AFTER_SECONDS = 2.0


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
    """Tell whether a WebSocket's handshake is refused for it: the backend does not know or accept the caller."""
    return failure.code in {"UNAUTHORIZED", "FORBIDDEN"}


def refusal(failure: FailureReason) -> BffError:
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
