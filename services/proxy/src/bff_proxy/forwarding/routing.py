"""Which request goes where: `/api/v1/{path}` is the backend's `/{path}`, for the allowed prefixes. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from bff_shared.errors import BadRequest, NotFound
from bff_shared.http.paths import refusal

MOUNT = b"/api/v1"
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: the backend's request target, and the route's bounded name for metrics and logs.

    Event streams (`is_stream`) have a name and places of their own: how long they last says nothing about the others.
    """

    target: bytes
    template: str
    is_stream: bool = False


def route(target: bytes, prefixes: Sequence[str]) -> Route:
    """Return where a request target (RFC 9112 section 3.2, origin or absolute form) leads, its bytes as they came.

    Raises NotFound for a path outside the mount or the prefixes, compared after normalising; BadRequest for a path that
    `bff_shared.http.paths` refuses, or a fragment.
    """
    absolute = _ABSOLUTE.match(target)
    local = target[absolute.end() :] if absolute else target
    path, mark, query = local.partition(b"?")
    if b"#" in local:
        raise BadRequest("a request target has no fragment")
    if not path.startswith(MOUNT + b"/"):
        raise NotFound("no such resource")
    path = path[len(MOUNT) :]
    if reason := refusal(path):
        raise BadRequest(reason)
    normal = normalise(path)
    for prefix in prefixes:
        if _is_within(normal, prefix.encode()):
            is_stream = normal.endswith(b"/stream")
            kind = "{path}/stream" if is_stream else "{path}"
            return Route(path + mark + query, f"/api/v1{prefix.rstrip('/')}/{kind}", is_stream)
    raise NotFound("no such resource")


def normalise(path: bytes) -> bytes:
    r"""Return the path that some server might take this for: decoded once, `\` as `/`, dots resolved, slashes merged.

    RFC 3986 section 5.2.4 for the dots.
    """
    plain = unquote_to_bytes(path).replace(b"\\", b"/")
    segments: list[bytes] = []
    for segment in plain.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in {b"", b"."}:
            segments.append(segment)
    return b"/" + b"/".join(segments)


def _is_within(path: bytes, prefix: bytes) -> bool:
    """Tell whether a normalised path is the prefix or below it; `/backtestsX` is not below `/backtests`."""
    base = prefix.rstrip(b"/")
    return path == base or path.startswith(base + b"/")
