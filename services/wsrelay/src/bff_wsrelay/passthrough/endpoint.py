"""The passthrough endpoint: `/api/v1/backtests/{id}/ws`, one upstream connection per client. I/O.

Its settings begin with `BFF_DOOR_` and its metrics with `bff_door_`, the names they were introduced with.
"""

import contextlib
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from bff_shared.backend_keys import is_run_id
from bff_shared.errors import BffError, RunNotFound
from bff_shared.http import context
from bff_shared.settings import Network
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.admission.refusal import refuse
from bff_wsrelay.passthrough import headers as handshake_headers
from bff_wsrelay.passthrough.client_socket import ClientSocket
from bff_wsrelay.passthrough.metrics import PassthroughMetrics
from bff_wsrelay.passthrough.session import Connect, Session, SessionLimits
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.backoff import Backoff
from bff_wsrelay.websocket.client import UpstreamConnection
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector

PASSTHROUGH_PATH = "/api/v1/backtests/{run_id}/ws"


class PassthroughEndpoint:
    """The endpoint as an ASGI app; the router puts `run_id` into `path_params`."""

    def __init__(
        self,
        admission: Admission,
        connector: Connector,
        limits: SessionLimits,
        trusted: tuple[Network, ...],
        metrics: PassthroughMetrics,
        make_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._admission, self._connector, self._limits, self._trusted = admission, connector, limits, trusted
        self._metrics, self._make_backoff = metrics, make_backoff
        self.sessions: set[Session] = set()
        metrics.viewers.set_function(lambda: len(self.sessions))

    @classmethod
    def of(cls, settings: RelaySettings, admission: Admission, metrics: PassthroughMetrics) -> "PassthroughEndpoint":
        """Return the endpoint that the settings describe."""
        options = ConnectionOptions(
            connect=settings.connect_timeout,
            handshake=settings.first_byte_timeout,
            ping_interval=settings.door_ping_seconds,
            ping_timeout=settings.door_ping_timeout,
            max_message=settings.door_max_message,
        )
        limits = SessionLimits(
            admit=settings.connect_timeout,
            negotiate=settings.first_byte_timeout,
            reconnect=settings.door_reconnect_seconds,
            max_held=settings.door_held_messages,
            max_held_bytes=settings.door_held_bytes,
            max_controls=settings.stream_max_controls,
        )
        return cls(admission, Connector(settings.backend_url, options), limits, settings.trusted_proxies, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client from its handshake until both connections have ended."""
        if request := context.current():
            request.route = PASSTHROUGH_PATH
        with contextlib.ExitStack() as stack:
            try:
                if not is_run_id(scope["path_params"]["run_id"]):
                    raise RunNotFound("run not found")
                stack.enter_context(self._admission.admit(scope))
            except BffError as error:
                await refuse(scope, receive, send, error)
                return
            connect, negotiates = self._make_connect(scope)
            client = ClientSocket(scope, receive, send)
            backoff = self._make_backoff()
            session = Session(client, connect, self._limits, backoff, self._metrics, negotiates=negotiates)
            self.sessions.add(session)
            try:
                with self._admission.drain.covering(session):
                    await session.run()
            finally:
                self.sessions.discard(session)

    def _make_connect(self, scope: Scope) -> tuple[Connect, bool]:
        """Return how this client's upstream connection is opened, and whether it negotiates a subprotocol."""
        peer = scope["client"][0] if scope.get("client") else None
        ids = context.upstream_headers()
        headers = handshake_headers.to_backend(scope["headers"], ids, peer, scope["scheme"], self._trusted)
        target = handshake_headers.target(scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii"))
        offered = [name for name in scope["subprotocols"] if name]

        async def connect() -> UpstreamConnection:
            return await self._connector.connect(target, headers, offered)

        return connect, bool(offered)
