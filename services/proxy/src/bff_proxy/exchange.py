"""What a proxy changes in the heads of a request and of its answer, and nothing else. Pure."""

from collections.abc import Sequence

from bff_proxy.routes import MOUNT
from bff_shared.headers import FORWARDED, Header, end_to_end, forwarded, get, is_trusted
from bff_shared.settings import Network

VIA = (b"via", b"1.1 bff-proxy")
CHUNKED = (b"transfer-encoding", b"chunked")
CLIENT_CONNECTION = b"x-bff-connection"
REPLACED = FORWARDED | {b"host", b"x-request-id", b"traceparent", CLIENT_CONNECTION}


def request_head(
    headers: Sequence[Header], ids: Sequence[Header], peer: str | None, scheme: str, trusted: tuple[Network, ...]
) -> list[Header]:
    """Return the headers for the backend: the end-to-end ones in their order, then what a proxy adds.

    Added: the ids, `X-Forwarded-*`, `Via` (RFC 9110 section 7.6.3), and the framing of a body of unknown length. The
    client's own `Connection` comes from nginx as `X-Bff-Connection`, since each hop replaces that header.
    """
    if is_trusted(peer, trusted):
        headers = [(b"connection" if name == CLIENT_CONNECTION else name, value) for name, value in headers]
    answer = [pair for pair in end_to_end(headers) if pair[0] not in REPLACED]
    answer.extend(ids)
    answer.extend(forwarded(headers, peer, scheme, trusted))
    answer.append(VIA)
    if is_chunked(headers):
        answer.append(CHUNKED)
    return answer


def is_chunked(headers: Sequence[Header]) -> bool:
    """Tell whether the request has a body of a length not known beforehand."""
    return get(headers, b"transfer-encoding") is not None


def body_length(headers: Sequence[Header]) -> int | None:
    """Return the length of the body in bytes, None when it is not known beforehand (RFC 9112 section 6.3)."""
    return None if is_chunked(headers) else int(get(headers, b"content-length") or 0)


def answer_head(headers: Sequence[Header], backend: bytes) -> list[Header]:
    """Return the headers for the client: the end-to-end ones, with `Location` on the backend's origin mapped to ours.

    `backend` is the backend's origin, `scheme://authority`. A reference relative to the path stays as it is.
    """
    answer = end_to_end(headers)
    for index, (name, value) in enumerate(answer):
        if name.lower() == b"location":
            answer[index] = (name, _location(value, backend))
    return answer


def _location(value: bytes, backend: bytes) -> bytes:
    """Map `http://backend/x` and `/x` to `/api/v1/x`; leave other origins, `//host` and relative references alone."""
    rest = value[len(backend) :]
    if value[: len(backend)].lower() == backend.lower() and rest[:1] in {b"", b"/", b"?", b"#"}:
        return MOUNT + (rest if rest[:1] == b"/" else b"/" + rest)
    if value.startswith(b"/") and not value.startswith((b"//", b"/\\")):
        return MOUNT + value
    return value
