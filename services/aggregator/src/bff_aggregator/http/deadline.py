"""A request's deadline: the service's own limit, which `X-Request-Timeout` may only shorten. Pure.

Times are monotonic seconds, as `upstream.Call.deadline` and `asyncio.timeout_at` take them.
"""

import math

from bff_shared.errors import InvalidRequest

TIMEOUT_HEADER = "x-request-timeout"
MAX_TIMEOUT_SECONDS = 86_400.0
"""Most seconds that a client may ask for; a day is longer than any answer takes."""


def request_deadline(now: float, limit: float, header: str | None) -> float:
    """Return the deadline of a request that came at `now` and may take `limit` seconds.

    `header` is the value of `X-Request-Timeout`: seconds, a decimal number above 0, at most MAX_TIMEOUT_SECONDS.
    Raises InvalidRequest for anything else.
    """
    if header is None:
        return now + limit
    try:
        asked = float(header) if len(header) <= 32 and header.isascii() else math.nan
    except ValueError:
        asked = math.nan
    if not 0 < asked <= MAX_TIMEOUT_SECONDS:  # NaN is not either
        raise InvalidRequest(
            "invalid: x-request-timeout",
            {TIMEOUT_HEADER: f"expected seconds, above 0, at most {MAX_TIMEOUT_SECONDS:.0f}"},
        )
    return now + min(limit, asked)
