"""Who may open a stream: origin, rate and number by client address, and nobody while the process drains.

An endpoint asks first, and registers what a drain has to end for as long as it waits or is open:

    with contextlib.ExitStack() as stack:
        try:
            address = stack.enter_context(admission.admit(scope))
        except BffError as error:
            await refuse(scope, receive, send, error)
            return
        with admission.drain.covering(session):
            ...
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

from starlette.types import Scope

from bff_shared.errors import Busy, ClientBusy
from bff_shared.limits import ConnectionLimiter, KeyedBuckets, client_address
from bff_wsrelay.admission.drain import Drain
from bff_wsrelay.admission.origins import OriginRefused, is_origin_allowed
from bff_wsrelay.settings import RelaySettings

RETRY_AFTER = 2.0
HANDSHAKE_BURST_SECONDS = 10.0
"""How many seconds' worth of handshakes one client address may make at once: all its pages come back after a drain."""
CONTROL_BURST_SECONDS = 2.0

Reason = Literal["origin", "client", "rate", "pending", "capacity", "draining"]
"""Why a client is refused: a foreign origin, the limits of one client address (streams, handshakes a second, handshakes
that wait), the process's limit, or a drain."""


class Admission:
    """The limits of one process on who may connect, and on how many at once.

    Attributes:
        controls: limits the messages of all playback clients of one address together.
        drain: ends the open connections with the process; nobody is admitted once it has started.
        refused: how many handshakes were refused since the start.
    """

    def __init__(self, settings: RelaySettings, draw: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._limiter = ConnectionLimiter(
            settings.stream_max_connections, settings.stream_max_per_client, what="stream", retry_after=RETRY_AFTER
        )
        self._pending = ConnectionLimiter(
            settings.stream_max_connections, settings.stream_max_pending, what="handshake", retry_after=RETRY_AFTER
        )
        rate = settings.stream_handshakes_per_client
        self._handshakes = KeyedBuckets(rate, rate * HANDSHAKE_BURST_SECONDS)
        rate = settings.stream_controls_per_client
        self.controls = KeyedBuckets(rate, rate * CONTROL_BURST_SECONDS)
        self.drain = Drain(settings.stream_drain_spread, draw)
        self.refused = 0
        self._refusals: Counter[Reason] = Counter()

    def __repr__(self) -> str:
        """Return the number of admitted connections, of refusals, and whether the process drains."""
        return f"<Admission connections={self.connections} refused={self.refused} draining={self.drain.started}>"

    @property
    def connections(self) -> int:
        """Connections admitted and not ended."""
        return self._limiter.active

    def require_origin(self, scope: Scope) -> None:
        """Raise OriginRefused for a page of an origin that may not open streams."""
        if not is_origin_allowed(scope, self._settings):
            self._count("origin")
            raise OriginRefused("pages of this origin may not open streams")

    @contextlib.contextmanager
    def admit(self, scope: Scope) -> Iterator[str]:
        """Count a connection from entering the context to leaving it; yields the client's address.

        Raises:
            OriginRefused: for a page of an origin that may not open streams.
            Busy: at a limit, or while the process drains; the response carries Retry-After.
        """
        self.require_origin(scope)
        peer = (scope.get("client") or (None,))[0]
        address = client_address(scope["headers"], peer, self._settings.trusted_proxies)
        with contextlib.ExitStack() as stack:
            self._require_open(address)
            try:
                stack.enter_context(self._limiter.slot(address))
            except ClientBusy:
                self._count("client")
                raise
            except Busy:
                # No failure for a flag's budget: two clients that fill the relay would turn the flag off for everybody.
                self._count("capacity")
                raise
            yield address

    def _require_open(self, address: str) -> None:
        if self.drain.started:
            self._count("draining")
            raise Busy("the relay restarts", RETRY_AFTER)
        if not self._handshakes.take(address, now := time.monotonic()):
            self._count("rate")
            raise ClientBusy("too many handshakes of one client", max(RETRY_AFTER, self._handshakes.wait(address, now)))

    @contextlib.contextmanager
    def pending(self, address: str) -> Iterator[None]:
        """Count a handshake that waits for the backend's verdict; raises Busy on entering if too many do."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._pending.slot(address))
            except Busy:
                self._count("pending")
                raise
            yield

    def take_refusals(self) -> Counter[Reason]:
        """Return how many were refused since the last call, by reason."""
        taken, self._refusals = self._refusals, Counter()
        return taken

    def _count(self, reason: Reason) -> None:
        self.refused += 1
        self._refusals[reason] += 1
