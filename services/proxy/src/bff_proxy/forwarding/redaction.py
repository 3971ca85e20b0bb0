"""What a debug log may show of a request or a response: no credentials, and no more than the start of a body. Pure."""

import re
from collections.abc import Iterable

from bff_shared.http.headers import Header

MASK = "***"
SHOWN_BYTES = 1024
SECRET_HEADERS = frozenset(
    # Browsers cannot give a WebSocket a header, so clients of some backends send their token as a subprotocol.
    (b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"sec-websocket-protocol")
)
_WORDS = (
    r"token|secret|password|passwd|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|auth|jwt|credential|session"
)
_WHOLE = r"sig|signature|code|key|pwd|pass|otp|pin|nonce|assertion|state|sid|bearer|cookie"
_NAME = rf"(?:[\w.-]*(?:{_WORDS})[\w.-]*|(?:[\w.-]*[_.-])?(?:{_WHOLE}))"
_IN_JSON = re.compile(rf'("{_NAME}"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|\[[^\]]*\]?|[^,}}\s]+)', re.IGNORECASE)
_IN_FORM = re.compile(rf"((?:^|[?&;\s]){_NAME}=)[^&;\s]*", re.IGNORECASE)
_SECRET_NAME = re.compile(rf"x-(?:{_NAME})|{_NAME}", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*")
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{4,}", re.IGNORECASE)


def headers(pairs: Iterable[Header]) -> list[tuple[str, str]]:
    """Return header fields as text, the value of each that carries a credential masked."""
    return [(name.decode("latin-1"), _value(name, value)) for name, value in pairs]


def text(data: bytes) -> str:
    """Return the start of a body, or a request target, as text; values of token-like JSON or form fields masked."""
    shown = _masked(data[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    return f"{shown}… ({len(data)} bytes)" if len(data) > SHOWN_BYTES else shown


def _value(name: bytes, value: bytes) -> str:
    low = name.lower()
    if low in SECRET_HEADERS or _SECRET_NAME.fullmatch(low.decode("latin-1")):
        return MASK
    return _masked(value.decode("latin-1"))


def _masked(shown: str) -> str:
    shown = _IN_FORM.sub(rf"\g<1>{MASK}", _IN_JSON.sub(rf'\g<1>"{MASK}"', shown))
    return _BEARER.sub(rf"\g<1>\g<2>{MASK}", _JWT.sub(MASK, shown))
