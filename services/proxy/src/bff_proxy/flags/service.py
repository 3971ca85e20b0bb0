"""Everything about flags that a proxy holds, put together: the board, what keeps it in step, and the routes."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.api import Evaluator, make_ofrep_router, make_router
from bff_proxy.flags.events import FlagEvents, StreamLimits
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.snapshot import quiet_library
from bff_proxy.flags.state import FlagBoard
from bff_proxy.flags.sync import FlagSync
from bff_proxy.settings import ProxySettings
from bff_shared.limits import ConnectionLimiter
from bff_shared.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from bff_proxy.flags.redis_store import FlagStore


class FlagService:
    """Owns the flags of one process; `start` and `aclose` belong to the app's lifespan."""

    def __init__(self, settings: ProxySettings, metrics: Metrics) -> None:
        quiet_library()
        self._settings = settings
        self._showing = ExitStack()
        self.board = FlagBoard()
        self.metrics = FlagMetrics(metrics.registry)
        path = Path(settings.flags_file) if settings.flags_file else None
        self.sync = FlagSync(self.board, path, self._make_store(), settings.flag_poll_seconds)
        limiter = ConnectionLimiter(settings.flag_listeners, settings.flag_listeners_per_client, what="event stream")
        limits = StreamLimits(limiter, settings.trusted_proxies, settings.flag_heartbeat, settings.flag_stream_seconds)
        self.events = FlagEvents(self.board, limits)
        self.admin = FlagAdmin(self.board, self.sync, self.metrics)
        self.metrics.listeners.set_function(lambda: len(self.events))
        self.metrics.refused.set_function(lambda: bool(self.board.problem))
        self.metrics.store_away.set_function(lambda: self.sync.is_away)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes, and end the streams when the process is told to stop."""
        evaluator = Evaluator(self.board, self.sync, self.metrics)
        settings = self._settings
        app.include_router(make_router(self.board, self.events, evaluator, self.admin, settings.trusted_proxies))
        app.include_router(make_ofrep_router(self.board, self.events, evaluator))
        app.state.service.on_drain.append(self.events.close)

    async def start(self) -> None:
        """Read the flags and go on looking for changes."""
        self._showing.enter_context(self.board.heard(lambda _: self.metrics.show(self.board.now)))
        self.metrics.show(self.board.now)
        await self.sync.start()

    async def aclose(self) -> None:
        """Stop looking."""
        self.events.close()
        await self.sync.aclose()
        self._showing.close()

    # The library for Redis takes a third of the time to start, hence it is imported only where there is Redis.

    def _make_store(self) -> "FlagStore | None":
        if not self._settings.redis_url:
            return None
        from bff_proxy.flags.redis_store import FlagStore

        return FlagStore(self._settings.redis_url)
