"""Who may use the admin routes: whoever has the token. Guesses at it are slowed down. Pure; the clock is given."""

import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable

from bff_shared.errors import NotFound, TooManyRequests, Unauthorized
from bff_shared.limits import KeyedBuckets, TokenBucket

log = logging.getLogger(__name__)
MAX_TOKEN = 1024
"""Characters of a token that is looked at; a configured one may be longer."""

CLIENT_GUESSES, CLIENT_BURST = 0.2, 5.0
"""Wrong tokens a second, and at once, of one client address."""

ALL_GUESSES, ALL_BURST = 5.0, 50.0
"""Wrong tokens a second, and at once, of all clients together."""

MAX_KNOWN = 100
"""Client addresses remembered for having had the token: no guess, of theirs or of others, shuts them out."""


TOO_MANY = "too many wrong admin tokens; wait before you try again"


class AdminGate:
    """Checks the admin token for one process and slows guesses down.

    An address that has guessed too often is refused without a comparison, unless it has had the token before: somebody
    behind the admin's own address must not lock the admin out. The limit for all addresses together only changes what a
    wrong token is answered; the right one passes.
    """

    def __init__(self, token: str, clock: Callable[[], float]) -> None:
        self._token, self._clock = token, clock
        self._by_client = KeyedBuckets(CLIENT_GUESSES, CLIENT_BURST)
        self._all = TokenBucket(ALL_GUESSES, ALL_BURST)
        self._known: OrderedDict[str, None] = OrderedDict()

    def check(self, authorization: str, client: str) -> None:
        """Raise unless `authorization` is `Bearer` and the token; `client` is the address that the request counts for.

        Raises NotFound where no token is configured, Unauthorized for none or a wrong one, TooManyRequests for a client
        that has to wait before it may try again.
        """
        if not self._token:
            raise NotFound("no such resource")
        if not authorization:
            raise Unauthorized("the admin token is required")
        now = self._clock()
        wait = self._by_client.wait(client, now)
        if wait > 0 and client not in self._known:
            raise TooManyRequests(TOO_MANY, wait)
        try:
            require_admin(authorization, self._token)
        except Unauthorized:
            wait = max(wait, self._all.wait(now))
            if wait > 0:
                raise TooManyRequests(TOO_MANY, wait) from None
            self._by_client.take(client, now)
            self._all.take(now)
            log.warning("a wrong admin token", extra={"client": client})
            raise
        self._remember(client)

    def _remember(self, client: str) -> None:
        self._known[client] = None
        self._known.move_to_end(client)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def require_admin(authorization: str, token: str) -> None:
    """Raise NotFound where there is no token to have, Unauthorized unless `authorization` is `Bearer` and the token."""
    if not token:
        raise NotFound("no such resource")
    scheme, _, given = authorization.partition(" ")
    is_long = len(given) > max(MAX_TOKEN, len(token))
    if scheme.lower() != "bearer" or is_long or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Unauthorized("the admin token is required")
