"""How long a request may take: the service's limit, which the client's `X-Request-Timeout` may only shorten. Pure.

Times are monotonic seconds, as `upstream.Call.deadline` and `asyncio.timeout_at` take them.
"""

import math
from dataclasses import dataclass

from bff_shared.errors import InvalidRequest

HEADER = "x-request-timeout"
MOST = 86_400.0
"""Most seconds that a client may ask for; a day is longer than any answer takes."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which a request is answered, shared by everything done for it."""

    at: float

    def left(self, now: float) -> float:
        """Return the seconds that are left, never negative."""
        return max(0.0, self.at - now)


def deadline(now: float, limit: float, header: str | None) -> Deadline:
    """Return the deadline of a request that came at `now` and may take `limit` seconds.

    `header` is the value of `X-Request-Timeout`: seconds, a decimal number above 0, at most `MOST`. Raises
    InvalidRequest for anything else.
    """
    if header is None:
        return Deadline(now + limit)
    try:
        asked = float(header) if len(header) <= 32 and header.isascii() else math.nan
    except ValueError:
        asked = math.nan
    if not 0 < asked <= MOST:  # NaN is not either
        raise InvalidRequest("invalid: x-request-timeout", {HEADER: f"expected seconds, above 0, at most {MOST:.0f}"})
    return Deadline(now + min(limit, asked))
