"""Which request paths are refused: those that one server takes for another path than the next one does. Pure.

The one definition of a dot segment; nginx's map `$bff_path_refused` (deploy/nginx/default.conf.template) is the same in
its language, and tests/contract holds both against each other.
"""

import re

_SLASH = rb"(?:[/\\]|%2f|%5c)"
_DOT_SEGMENT = re.compile(_SLASH + rb"(?:\.|%2e){1,2}(?:[/\\;]|%2f|%5c|%3b|$)", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]|%[01][0-9a-f]|%7f", re.IGNORECASE)
_BACKSLASH = re.compile(rb"\\|%5c", re.IGNORECASE)


def refusal(path: bytes) -> str | None:
    """Return why a path, as it stands in the request target and without its query, is refused; None if it is not.

    A dot segment is one or two dots, plain or escaped, between slashes, plain or escaped, at the path's end, or before
    a path parameter (`..;`): clients remove them before they ask (RFC 3986 section 5.2.4). A backslash is a slash to
    some servers.
    """
    if _DOT_SEGMENT.search(path):
        return "the path holds dot segments"
    if _CONTROL.search(path):
        return "the path holds a control character"
    if _BACKSLASH.search(path):
        return "the path holds a backslash"
    return None
