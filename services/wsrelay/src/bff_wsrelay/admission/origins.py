"""Which pages may open a stream: those of our own origin, and of configured ones."""

from collections.abc import Sequence

from starlette.types import Scope

from bff_shared.errors import RequestError
from bff_shared.http.headers import Header, get, is_trusted
from bff_shared.http.origins import is_allowed, is_anonymous
from bff_wsrelay.settings import RelaySettings


class OriginRefused(RequestError):
    """A page of another origin may not open streams here (RFC 6455 section 10.2)."""

    code, status = "FORBIDDEN", 403


def _addresses(scope: Scope, settings: RelaySettings) -> tuple[str | None, str | None, str]:
    """Return the page's origin, and host and scheme of the address that it used."""
    headers: Sequence[Header] = scope["headers"]
    peer = (scope.get("client") or (None,))[0]
    scheme = "https" if scope["scheme"] in {"wss", "https"} else "http"
    host = get(headers, b"host")
    if is_trusted(peer, settings.trusted_proxies):
        scheme = (get(headers, b"x-forwarded-proto") or scheme.encode()).decode("latin-1")
        host = get(headers, b"x-forwarded-host") or host
    origin = get(headers, b"origin")
    return (
        origin.decode("latin-1") if origin is not None else None,
        host.decode("latin-1") if host is not None else None,
        scheme,
    )


def is_origin_allowed(scope: Scope, settings: RelaySettings) -> bool:
    """Return whether the page that opens this stream may: its origin is our own, or a configured one.

    For a page that only `*` allows, the cookies are removed from the scope: as with cross-origin reads, a cookie must
    not serve a page of another site.
    """
    origin, host, scheme = _addresses(scope, settings)
    if not is_allowed(origin, host, scheme, settings.allowed_origins):
        return False
    if is_anonymous(origin, host, scheme, settings.allowed_origins):
        scope["headers"] = [pair for pair in scope["headers"] if pair[0].lower() != b"cookie"]
    return True
