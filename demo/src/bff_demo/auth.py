"""Optional bearer tokens: who is calling, and whose run it is. Pure.

A token travels in `Authorization: Bearer <token>` (RFC 6750) or in a cookie named `token`. Without configured tokens
everybody is the same nameless caller and owns everything.
"""

import hmac
from collections.abc import Mapping

__all__ = ["Forbidden", "Unauthorized", "check_owner", "identify"]


class Unauthorized(Exception):
    """No token, or one that nobody has."""


class Forbidden(Exception):
    """The token is somebody's, the run is somebody else's."""


def identify(tokens: Mapping[str, str], authorization: str | None, cookies: Mapping[str, str]) -> str:
    """Return the user whose token was sent, or "" when no tokens are configured. Raises Unauthorized."""
    if not tokens:
        return ""
    scheme, _, credentials = (authorization or "").partition(" ")
    sent = credentials.strip() if scheme.lower() == "bearer" else cookies.get("token", "")
    for user, token in tokens.items():
        if hmac.compare_digest(token.encode(), sent.encode()):
            return user
    raise Unauthorized


def check_owner(user: str, owner: str) -> None:
    """Raise Forbidden unless `user` owns the run."""
    if user != owner:
        raise Forbidden
