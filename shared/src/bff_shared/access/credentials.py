"""Which credentials count, what stands for them, and whose cached data they may look at. Pure.

Two digests come of a request's credentials. Its *credential* stands for these very credentials and for nothing else:
the backend's verdicts are kept by it. Its *principal* stands for whose data is shared and is part of the cache's keys:

    scope credentials   the credentials themselves
    scope identity      a claim of the bearer token, so that a token that is rotated finds what its user has cached
    scope shared        everybody

A claim is read without a look at the signature: that is the backend's affair, and no principal opens anything before
the backend has accepted the credential itself.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import orjson

from bff_shared.http.headers import Header

MAX_TOKEN = 8 * 1024
"""Bytes of a bearer token that is looked into; a longer one stands for itself."""
MAX_CLAIM = 512
ANALYTICS = re.compile(
    r"""_ga | _ga_\w+ | _gid | _gat(_\w+)? | _gcl_\w+ | __utm[abctvz]      # Google
    | _fbp | _fbc | _uetsid | _uetvid | _clck | _clsk | _pin_unauth        # Meta, Microsoft, Pinterest
    | _hj\w+ | _pk_(id|ses|ref|cvar|hsr)[\w.]* | _ym_\w+ | _hp2_[\w.]+     # Hotjar, Matomo, Yandex, Heap
    | __hstc | __hssc | __hssrc | hubspotutk | _sp_(id|ses)\.\w+           # HubSpot, Snowplow
    | ajs_(anonymous|user|group)_id | mp_\w+_mixpanel | ph_\w+_posthog     # Segment, Mixpanel, PostHog
    | amp_[0-9a-f]{6,} | AMP_[0-9a-f]{10,} | AMP_MKTG_\w+                  # Amplitude
    | optimizelyEndUserId | _dd_s                                          # Optimizely, Datadog
    """,
    re.VERBOSE,
)
"""Names of cookies that well-known analytics set: they differ between visits and tell nobody who somebody is."""


class CacheScope(StrEnum):
    """With whom cached data is shared."""

    CREDENTIALS = "credentials"
    IDENTITY = "identity"
    SHARED = "shared"


class Reader(NamedTuple):
    """Who asks: the credentials that count, which alone go to the backend, and the digests that stand in for them.

    `owner` is what the principal is a digest of, in the form of headers.
    """

    credentials: tuple[Header, ...]
    credential: str
    principal: str
    owner: tuple[Header, ...]

    @property
    def shares(self) -> bool:
        """Whether others may look at the same data, so that nothing of it is shown before the backend's verdict."""
        return self.principal != self.credential

    def alone(self) -> "Reader":
        """Return the same reader, who shares nothing."""
        return Reader(self.credentials, self.credential, self.credential, self.credentials)


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts and what is shared: names of `cookies` that count, all but ANALYTICS if empty; the `claim`."""

    scope: CacheScope = CacheScope.CREDENTIALS
    claim: str = "sub"
    cookies: Collection[str] = ()

    def counting(self, credentials: Iterable[Header]) -> tuple[Header, ...]:
        """Return the credentials with those cookies only that count; a header of which nothing is left goes."""
        kept = []
        for name, value in credentials:
            if name.lower() != b"cookie":
                kept.append((name, value))
            elif counting := self._cookies(value):
                kept.append((name, counting))
        return tuple(kept)

    def owner(self, credentials: tuple[Header, ...]) -> tuple[Header, ...]:
        """Return what stands for whose data credentials that count look at, in the form of headers.

        No header's name begins with NUL, so no credentials stand for somebody else's identity.
        """
        if self.scope is CacheScope.SHARED:
            return ((b"\0shared", b""),)
        if self.scope is CacheScope.IDENTITY and (identity := identity_of(credentials, self.claim)) is not None:
            return ((b"\0identity", self.claim.encode()), *((b"", part) for part in identity))
        return credentials

    def reader(self, secret: bytes, credentials: Iterable[Header]) -> Reader:
        """Return who asks with these headers; the digests are made with the key `secret`."""
        counting = self.counting(credentials)
        credential = digest(secret, counting)
        owner = self.owner(counting)
        return Reader(counting, credential, credential if owner is counting else digest(secret, owner), owner)

    def narrowed(self) -> "Rules":
        """Return the rules for what is about one user, however much else is shared: a list of runs."""
        scope = CacheScope.IDENTITY if self.scope is CacheScope.SHARED else self.scope
        return Rules(scope, self.claim, self.cookies)

    def _cookies(self, value: bytes) -> bytes:
        parts = [part for piece in value.split(b";") if (part := piece.strip())]
        kept = [part for part in parts if self._counts(part.partition(b"=")[0].strip().decode("latin-1"))]
        return value if len(kept) == len(parts) else b"; ".join(kept)

    def _counts(self, name: str) -> bool:
        return name in self.cookies if self.cookies else not _is_analytics(name)


Readers = Callable[[Iterable[Header]], Reader]
"""Tells who asks with given headers."""


def identity_of(credentials: Sequence[Header], claim: str) -> tuple[bytes, bytes] | None:
    """Return issuer and claim of a bearer token (RFC 7519), None where there is no such claim.

    A token beside other credentials tells nobody's identity: the backend may go by the others.
    """
    if len(credentials) != 1 or credentials[0][0].lower() != b"authorization":
        return None
    scheme, _, token = credentials[0][1].strip().partition(b" ")
    parts = token.strip().split(b".")
    if scheme.lower() != b"bearer" or len(parts) != 3 or len(token) > MAX_TOKEN:
        return None
    try:
        claims = orjson.loads(base64.b64decode(parts[1] + b"=" * (-len(parts[1]) % 4), b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        return None
    found, issuer = (claims.get(claim), claims.get("iss", "")) if isinstance(claims, dict) else (None, "")
    if isinstance(found, int) and not isinstance(found, bool):
        found = f"\0{found}"  # the number 7 is not the text "7"
    if not isinstance(found, str) or not isinstance(issuer, str) or not 0 < len(found) <= MAX_CLAIM:
        return None
    return issuer.encode(), found.encode()


def digest(secret: bytes, credentials: Sequence[Header]) -> str:
    """Return the keyed digest that stands for credentials (HMAC-SHA-256); none are somebody too.

    Lengths go in with the values, so no two lists of headers make the same message.
    """
    if not credentials:
        return _nobody(secret)
    parts = [part for name, value in credentials for part in (name.lower(), value)]
    return _keyed(secret, b"".join(len(part).to_bytes(4, "little") + part for part in parts))


@lru_cache(maxsize=4096)
def _is_analytics(name: str) -> bool:
    return ANALYTICS.fullmatch(name) is not None


@lru_cache(maxsize=4)
def _nobody(secret: bytes) -> str:
    return _keyed(secret, b"")


def _keyed(secret: bytes, message: bytes) -> str:
    return hmac.digest(secret, message, "sha256").hex()[:32]
