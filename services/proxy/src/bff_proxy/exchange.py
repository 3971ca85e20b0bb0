"""What a proxy changes in the heads of a request and of its answer, and nothing else. Pure."""

from collections.abc import Sequence

from bff_proxy.routes import MOUNT
from bff_shared.headers import FORWARDED, Header, end_to_end, forwarded, get
from bff_shared.settings import Network

VIA = b"1.1 bff-proxy"
REPLACED = FORWARDED | {b"host", b"x-request-id", b"traceparent"}


def request_head(
    headers: Sequence[Header], ids: Sequence[Header], peer: str | None, scheme: str, trusted: Sequence[Network]
) -> list[Header]:
    """Return the headers for the backend: the end-to-end ones in their order, then what a proxy adds.

    Added: the ids, `X-Forwarded-*`, `Via` (RFC 9110 section 7.6.3), and the framing of a body of unknown length.
    """
    kept = [(name, value) for name, value in end_to_end(headers) if name not in REPLACED]
    added = [*ids, *forwarded(headers, peer, scheme, trusted), (b"via", VIA)]
    if is_chunked(headers):
        added.append((b"transfer-encoding", b"chunked"))
    return kept + added


def is_chunked(headers: Sequence[Header]) -> bool:
    """Tell whether the request has a body of a length not known beforehand."""
    return get(headers, b"transfer-encoding") is not None


def has_body(headers: Sequence[Header]) -> bool:
    """Tell whether the request has a body (RFC 9112 section 6.3)."""
    return is_chunked(headers) or get(headers, b"content-length") not in {None, b"0"}


def answer_head(headers: Sequence[Header], backend: bytes) -> list[Header]:
    """Return the headers for the client: the end-to-end ones, with `Location` on the backend's origin mapped to ours.

    `backend` is the backend's origin, `scheme://authority`.
    """
    return [
        (name, _location(value, backend) if name.lower() == b"location" else value)
        for name, value in end_to_end(headers)
    ]


def _location(value: bytes, backend: bytes) -> bytes:
    path = (
        value.removeprefix(backend) if value.startswith((backend + b"/", backend + b"?")) or value == backend else value
    )
    if path.startswith(b"/") and not path.startswith(b"//"):
        return MOUNT + path
    return MOUNT + b"/" + path if path != value else value
