"""The transparent door: who is let in, and how the backend is called on a viewer's behalf. I/O."""

import contextlib
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from bff_shared.errors import BffError, RunNotFound
from bff_shared.http import context
from bff_shared.http.ids import is_run_id
from bff_shared.settings import Network
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.admission.refusal import refuse
from bff_wsrelay.passthrough import headers as handshake_headers
from bff_wsrelay.passthrough.client_socket import Viewer
from bff_wsrelay.passthrough.metrics import DoorMetrics
from bff_wsrelay.passthrough.session import Conversation, Dial, DoorLimits
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.backoff import Backoff
from bff_wsrelay.websocket.client import Link
from bff_wsrelay.websocket.connector import Dialer, Patience

PATH = "/api/v1/backtests/{run_id}/ws"


class Door:
    """The ASGI application behind the transparent route."""

    def __init__(
        self,
        admission: Admission,
        dialer: Dialer,
        limits: DoorLimits,
        trusted: tuple[Network, ...],
        metrics: DoorMetrics,
        make_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._admission, self._dialer, self._limits, self._trusted = admission, dialer, limits, trusted
        self._metrics, self._make_backoff = metrics, make_backoff
        self.conversations: set[Conversation] = set()
        metrics.viewers.set_function(lambda: len(self.conversations))

    @classmethod
    def of(cls, settings: RelaySettings, admission: Admission, metrics: DoorMetrics) -> "Door":
        """Return the door that the settings describe."""
        patience = Patience(
            connect=settings.connect_timeout,
            answer=settings.first_byte_timeout,
            ping_interval=settings.door_ping_seconds,
            ping_timeout=settings.door_ping_timeout,
            max_message=settings.door_max_message,
        )
        limits = DoorLimits(
            admit=settings.connect_timeout,
            negotiate=settings.first_byte_timeout,
            reconnect=settings.door_reconnect_seconds,
            max_held=settings.door_held_messages,
            max_held_bytes=settings.door_held_bytes,
            max_controls=settings.stream_max_controls,
        )
        return cls(admission, Dialer(settings.backend_url, patience), limits, settings.trusted_proxies, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer from its handshake to the end of both its sides."""
        if request := context.current():
            request.route = PATH
        with contextlib.ExitStack() as held:
            try:
                if not is_run_id(scope["path_params"]["run_id"]):
                    raise RunNotFound("run not found")
                held.enter_context(self._admission.admit(scope))
            except BffError as error:
                await refuse(scope, receive, send, error)
                return
            dial, negotiates = self._dialling(scope)
            viewer = Viewer(scope, receive, send)
            backoff = self._make_backoff()
            conversation = Conversation(viewer, dial, self._limits, backoff, self._metrics, negotiates=negotiates)
            self.conversations.add(conversation)
            try:
                with self._admission.drain.covering(conversation):
                    await conversation.run()
            finally:
                self.conversations.discard(conversation)

    def _dialling(self, scope: Scope) -> tuple[Dial, bool]:
        """Return how this viewer's connection to the backend is opened, and whether it negotiates a subprotocol."""
        peer = scope["client"][0] if scope.get("client") else None
        ids = context.upstream_headers()
        headers = handshake_headers.to_backend(scope["headers"], ids, peer, scope["scheme"], self._trusted)
        target = handshake_headers.target(scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii"))
        offered = [name for name in scope["subprotocols"] if name]

        async def dial() -> Link:
            return await self._dialer.dial(target, headers, offered)

        return dial, bool(offered)
