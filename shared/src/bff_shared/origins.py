"""Which browser origins may open WebSockets and read answers across sites (RFC 6455 section 10.2, Fetch CORS). Pure."""

import re
from collections.abc import Sequence


def is_allowed(origin: str | None, host: str | None, scheme: str, allowed: Sequence[str]) -> bool:
    """Tell whether a request with this `Origin` is welcome.

    No origin (not a browser) and the request's own origin always are; others when a configured one matches. In a
    configured origin `*` stands for one or more host labels (`https://*.example.com`), alone for any origin.
    """
    if origin is None:
        return True
    if host is not None and origin.lower() == f"{scheme}://{host}".lower():
        return True
    return any(_matches(origin.lower(), pattern.lower()) for pattern in allowed)


def _matches(origin: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    expression = "[a-z0-9.-]+".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, origin) is not None
