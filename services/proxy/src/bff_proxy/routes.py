"""Which request goes where: `/api/v1/{path}` is the backend's `/{path}`, for the allowed prefixes. Pure."""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from bff_shared.errors import BadRequest, NotFound

MOUNT = b"/api/v1"


def target(raw_path: bytes, query: bytes, prefixes: Sequence[str]) -> bytes:
    """Return the backend's request target, path and query bytes as they came.

    `raw_path` is the path as the client sent it. Raises NotFound for a path outside the mount or the prefixes, compared
    after normalising, BadRequest for control characters (RFC 3986 allows none, not even encoded ones make sense here).
    """
    path = _unmounted(raw_path)
    normal = normalise(path)
    if not any(_within(normal, prefix.encode()) for prefix in prefixes):
        raise NotFound("no such resource")
    return b"%b?%b" % (path, query) if query else path


def template(raw_path: bytes, prefixes: Sequence[str]) -> str:
    """Return the bounded name of a route, for metrics and logs: the prefix that matched."""
    normal = normalise(raw_path.removeprefix(MOUNT))
    matched = next((prefix for prefix in prefixes if _within(normal, prefix.encode())), None)
    return "unmatched" if matched is None else f"/api/v1{matched.rstrip('/')}/{{path}}"


def normalise(path: bytes) -> bytes:
    """Return the path that any server might take this for: decoded once, dots resolved, backslashes and slashes merged.

    RFC 3986 section 5.2.4 for the dots. Raises BadRequest for a decoded control character.
    """
    plain = unquote_to_bytes(path).replace(b"\\", b"/")
    if any(byte < 0x20 or byte == 0x7F for byte in plain):
        raise BadRequest("the path holds a control character")
    segments: list[bytes] = []
    for segment in plain.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in {b"", b"."}:
            segments.append(segment)
    return b"/" + b"/".join(segments)


def _unmounted(raw_path: bytes) -> bytes:
    if not raw_path.startswith(MOUNT + b"/"):
        raise NotFound("no such resource")
    return raw_path[len(MOUNT) :]


def _within(path: bytes, prefix: bytes) -> bool:
    """Tell whether a normalised path is the prefix or below it; `/backtestsX` is not below `/backtests`."""
    base = prefix.rstrip(b"/")
    return path == base or path.startswith(base + b"/")
