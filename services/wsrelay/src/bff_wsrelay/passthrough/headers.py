"""Which headers pass between the client's handshake and the backend's. Pure.

Hop by hop are `Connection`, `Upgrade` and all of `Sec-WebSocket-*` (RFC 6455 section 4.1): each side has its own.
Everything else is end to end and passes: credentials, cookies, `Origin`, language, agent.
"""

from collections.abc import Sequence

from bff_shared.http.headers import FORWARDED, Header, end_to_end, forwarded
from bff_shared.settings import Network

MOUNT = "/api/v1"
VIA = (b"via", b"1.1 bff-wsrelay")
_REPLACED = FORWARDED | {b"host", b"x-request-id", b"traceparent", b"content-length"}
_OWN = frozenset((b"date", b"server", b"content-length", b"location", b"x-request-id"))


def target(raw_path: str, query: str) -> str:
    """Return the backend's path and query for a path of the relay's, with its escapes unchanged."""
    path = raw_path.removeprefix(MOUNT)
    return f"{path}?{query}" if query else path


def to_backend(
    headers: Sequence[Header], ids: Sequence[Header], peer: str | None, scheme: str, trusted: tuple[Network, ...]
) -> list[Header]:
    """Return the headers for the backend's handshake; `scheme` is `ws` or `wss`."""
    passed = [pair for pair in _end_to_end(headers) if pair[0].lower() not in _REPLACED]
    added = forwarded(headers, peer, {"ws": "http", "wss": "https"}.get(scheme, scheme), trusted)
    return [*passed, *ids, *added, VIA]


def to_client(headers: Sequence[Header], request_id: bytes) -> list[Header]:
    """Return the headers for the viewer: what the backend set, such as cookies, and the request's id."""
    passed = [pair for pair in _end_to_end(headers) if pair[0].lower() not in _OWN]
    return [*passed, (b"x-request-id", request_id)]


def _end_to_end(headers: Sequence[Header]) -> list[Header]:
    return [pair for pair in end_to_end(headers) if not pair[0].lower().startswith(b"sec-websocket-")]
