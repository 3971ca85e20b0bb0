"""Ids of requests, and W3C trace context (https://www.w3.org/TR/trace-context/). Pure but for `random`.

Ids have to be unique, not secret: the generator that is seeded per process costs a third of the system's.
"""

import re
from random import getrandbits
from typing import NamedTuple

MAX_ID = 128
_SANE = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Trace(NamedTuple):
    """One hop of a distributed trace: 16-byte trace id, 8-byte span id, flags, all in lower-case hex."""

    trace_id: str
    span_id: str
    flags: str = "00"

    @property
    def header(self) -> str:
        """The value of `traceparent`, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def request_id(given: str | None) -> str:
    """Return the client's id if it is 1 to 128 visible ASCII characters, else a new one of 32 hex digits."""
    return given if given is not None and _SANE.fullmatch(given) else _hex(16)


def parent(given: str) -> Trace | None:
    """Return the caller's span, or None for a malformed header (section 4.3)."""
    match = _TRACEPARENT.fullmatch(given)
    if match is None or match[2] == "0" * 32 or match[3] == "0" * 16 or (match[1] == "00" and match[5]):
        return None
    return Trace(match[2], match[3], match[4])


def trace(given: str | None) -> Trace:
    """Continue the caller's trace with a new span, or start one when there is none or it is malformed (section 4.3)."""
    caller = parent(given) if given else None
    return Trace(caller.trace_id, _hex(8), caller.flags) if caller else Trace(_hex(16), _hex(8))


def _hex(size: int) -> str:
    """Return so many random bytes in hex, not all of them zero (W3C Trace Context sections 3.2.2.3 and 3.2.2.4)."""
    return "%0*x" % (2 * size, getrandbits(8 * size) or 1)  # noqa: UP031  half the time of an f-string with a width
