"""What a retry has to know about a failed exchange."""

import enum
from typing import NamedTuple, TypeVar

ErrorT = TypeVar("ErrorT", bound=BaseException)

_FAULT = "_carrier_fault"


class Stage(enum.Enum):
    """How far an exchange came before it failed."""

    CONNECT = "connect"
    """Nothing was sent: no connection was made or free in time, or the request could not be written."""
    SENT = "sent"
    """Bytes of the request were or may have been sent; no byte of an answer came."""
    ANSWERED = "answered"
    """Some byte of an answer came."""


class Fault(NamedTuple):
    """How far the exchange of a raised error came, and whether its connection had served another one before."""

    stage: Stage
    reused: bool


def mark(error: ErrorT, stage: Stage, *, reused: bool) -> ErrorT:
    """Put a Fault on an error and return the error."""
    setattr(error, _FAULT, Fault(stage, reused))
    return error


def fault(error: BaseException) -> Fault:
    """Return the Fault of an error that the carrier raised; of any other, the one that forbids a retry."""
    found = getattr(error, _FAULT, None)
    return found if isinstance(found, Fault) else Fault(Stage.ANSWERED, reused=False)
