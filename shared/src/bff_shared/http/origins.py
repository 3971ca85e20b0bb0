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
    return re.fullmatch(expression(allowed), origin, re.IGNORECASE) is not None


def is_anonymous(origin: str | None, host: str | None, scheme: str, allowed: Sequence[str]) -> bool:
    """Tell whether a page of this origin is welcome by `*` alone, so that no cookie of its visitor may serve it."""
    named = [pattern for pattern in allowed if pattern != "*"]
    return len(named) < len(allowed) and not is_allowed(origin, host, scheme, named)


def expression(allowed: Sequence[str]) -> str:
    """Return a regular expression for the configured origins, to be matched whole and without regard to case."""
    if not allowed:
        return "(?!)"
    return "|".join(".*" if pattern == "*" else _LABELS.join(map(re.escape, pattern.split("*"))) for pattern in allowed)


_LABELS = "[A-Za-z0-9.-]+"
