"""What a proxy changes in the heads of a request and of its response, and nothing else. Pure."""

from collections.abc import Sequence

from bff_proxy.forwarding.routing import MOUNT
from bff_shared.http.headers import FORWARDED, Header, end_to_end, forwarded, get, is_trusted
from bff_shared.settings import Network

VIA = (b"via", b"1.1 bff-proxy")
CHUNKED = (b"transfer-encoding", b"chunked")
CLIENT_CONNECTION = b"x-bff-connection"
REPLACED = FORWARDED | {b"host", b"x-request-id", b"traceparent", CLIENT_CONNECTION}
OVERRIDES = frozenset(
    (
        b"client-ip",
        b"true-client-ip",
        b"x-client-ip",
        b"x-original-method",
        b"x-original-uri",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
    )
)
"""By these some backends take a request for one from another client, for another path or with another method."""

NEVER = REPLACED | OVERRIDES
_TWINS = NEVER | {b"x-real-ip", b"content-length", b"transfer-encoding", b"content-type"}
SANDBOX = (b"content-security-policy", b"sandbox")
_DOCUMENTS = (b"text/html", b"application/xhtml+xml", b"image/svg+xml", b"text/xml", b"application/xml")


def request_head(
    headers: Sequence[Header], ids: Sequence[Header], peer: str | None, scheme: str, trusted: tuple[Network, ...]
) -> list[Header]:
    """Return the headers for the backend: the end-to-end ones in their order, then what a proxy adds.

    Added: the ids, `X-Forwarded-*`, `Via` (RFC 9110 section 7.6.3), and the framing of a body of unknown length. The
    client's own `Connection` comes from nginx as `X-Bff-Connection`, since each hop replaces that header. Not handed
    on: what a client could pass itself or its request off as another by, in any spelling that CGI takes for the same.
    """
    if is_trusted(peer, trusted):
        headers = [(b"connection" if name == CLIENT_CONNECTION else name, value) for name, value in headers]
    forwarded_fields = [pair for pair in end_to_end(headers) if pair[0] not in NEVER and not _is_twin(pair[0])]
    forwarded_fields.extend(ids)
    forwarded_fields.extend(forwarded(headers, peer, scheme, trusted))
    forwarded_fields.append(VIA)
    if is_chunked(headers):
        forwarded_fields.append(CHUNKED)
    return forwarded_fields


def _is_twin(name: bytes) -> bool:
    """Tell whether a name with underscores is read as one that matters (RFC 3875 section 4.1.18)."""
    return b"_" in name and name.lower().replace(b"_", b"-") in _TWINS


def is_chunked(headers: Sequence[Header]) -> bool:
    """Tell whether the request has a body of a length not known beforehand."""
    return get(headers, b"transfer-encoding") is not None


def body_length(headers: Sequence[Header]) -> int | None:
    """Return the length of the body in bytes, None when it is not known beforehand (RFC 9112 section 6.3)."""
    return None if is_chunked(headers) else int(get(headers, b"content-length") or 0)


def response_head(headers: Sequence[Header], backend: bytes) -> list[Header]:
    """Return the headers for the client: the end-to-end ones, with `Location` on the backend's origin mapped to ours.

    `backend` is the backend's origin, `scheme://authority`. A reference relative to the path stays as it is. A document
    that scripts could run in gets an origin of its own, since ours is the page's. (That no type is guessed is nginx's
    word.)
    """
    forwarded_fields = end_to_end(headers)
    kind = (get(forwarded_fields, b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind in _DOCUMENTS:
        forwarded_fields.append(SANDBOX)
    for index, (name, value) in enumerate(forwarded_fields):
        if name.lower() == b"location":
            forwarded_fields[index] = (name, _location(value, backend))
    return forwarded_fields


def _location(value: bytes, backend: bytes) -> bytes:
    """Map `http://backend/x`, `//backend/x` and `/x` to `/api/v1/x`; leave other origins and relative references."""
    for own in (backend, backend[backend.index(b"//") :]):
        rest = value[len(own) :]
        if value[: len(own)].lower() == own.lower() and rest[:1] in {b"", b"/", b"?", b"#", b"\\"}:
            return MOUNT + (rest if rest[:1] == b"/" else b"/" + rest)
    if value.startswith(b"/") and not value.startswith((b"//", b"/\\")):
        return MOUNT + value
    return value
