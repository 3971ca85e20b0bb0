"""Who may use the admin routes: whoever has the token. Pure."""

import hmac

from bff_shared.errors import NotFound, Unauthorized


def require_admin(authorization: str, token: str) -> None:
    """Raise NotFound where there is no token to have, Unauthorized unless `authorization` is `Bearer` and the token."""
    if not token:
        raise NotFound("no such resource")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Unauthorized("the admin token is required")
