"""What a retry has to know about a failed cycle."""

import enum
from typing import NamedTuple, TypeVar

ErrorT = TypeVar("ErrorT", bound=BaseException)

_FAILURE = "_transport_failure"


class FailureStage(enum.Enum):
    """How far a request cycle came before it failed."""

    CONNECT = "connect"
    """Nothing was sent: no connection was made or free in time, or the request could not be written."""
    SENT = "sent"
    """Bytes of the request were or may have been sent; no byte of a response came."""
    RESPONDED = "responded"
    """Some byte of a response came."""


class Failure(NamedTuple):
    """How far the cycle of a raised error came, and whether its connection had served another one before."""

    stage: FailureStage
    reused: bool


def mark(error: ErrorT, stage: FailureStage, *, reused: bool) -> ErrorT:
    """Put a Failure on an error and return the error."""
    setattr(error, _FAILURE, Failure(stage, reused))
    return error


def failure_of(error: BaseException) -> Failure:
    """Return the Failure of an error that the transport raised; of any other, the one that forbids a retry."""
    found = getattr(error, _FAILURE, None)
    return found if isinstance(found, Failure) else Failure(FailureStage.RESPONDED, reused=False)
