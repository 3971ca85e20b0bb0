"""What a debug log may show of a request or an answer: no credentials, and no more than the start of a body. Pure."""

import re
from collections.abc import Iterable

from bff_shared.headers import Header

MASK = "***"
SHOWN_BYTES = 1024
SECRET_HEADERS = frozenset(
    (b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key", b"x-auth-token"),
)
_NAME = r"[\w-]*(?:token|secret|password|passwd|api[_-]?key)[\w-]*"
_IN_JSON = re.compile(rf'("{_NAME}"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[^,}}\s]+)', re.IGNORECASE)
_IN_FORM = re.compile(rf"((?:^|[?&;\s]){_NAME}=)[^&;\s]*", re.IGNORECASE)


def headers(pairs: Iterable[Header]) -> list[tuple[str, str]]:
    """Return header fields as text, the value of each that carries a credential masked."""
    return [
        (name.decode("latin-1"), MASK if name.lower() in SECRET_HEADERS else value.decode("latin-1"))
        for name, value in pairs
    ]


def text(data: bytes) -> str:
    """Return the start of a body, or a request target, as text; values of token-like JSON or form fields masked."""
    shown = data[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    shown = _IN_FORM.sub(rf"\g<1>{MASK}", _IN_JSON.sub(rf'\g<1>"{MASK}"', shown))
    return f"{shown}… ({len(data)} bytes)" if len(data) > SHOWN_BYTES else shown
