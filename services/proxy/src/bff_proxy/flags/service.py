"""Everything about flags that a proxy holds, put together: the flag store, what keeps it in step, and the routes."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.api import Evaluator, make_ofrep_router, make_router
from bff_proxy.flags.evaluation import quiet_library
from bff_proxy.flags.events import FlagEvents, StreamLimits
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.store import FlagStore
from bff_proxy.flags.sync import FlagSync
from bff_proxy.settings import ProxySettings
from bff_shared.limits import ConnectionLimiter
from bff_shared.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from bff_proxy.flags.redis_store import OverrideStore


class FlagService:
    """Owns the flags of one process; `start` and `aclose` belong to the app's lifespan."""

    def __init__(self, settings: ProxySettings, metrics: Metrics) -> None:
        quiet_library()
        self._settings = settings
        self._showing = ExitStack()
        self.flag_store = FlagStore()
        self.metrics = FlagMetrics(metrics.registry)
        path = Path(settings.flags_file) if settings.flags_file else None
        self.sync = FlagSync(self.flag_store, path, self._make_store(), settings.flag_poll_seconds)
        limiter = ConnectionLimiter(settings.flag_listeners, settings.flag_listeners_per_client, what="event stream")
        limits = StreamLimits(
            limiter,
            self.metrics.listeners_refused,
            settings.trusted_proxies,
            settings.flag_heartbeat,
            settings.flag_stream_seconds,
        )
        self.events = FlagEvents(self.flag_store, limits)
        self.admin = FlagAdmin(self.flag_store, self.sync, self.metrics)
        self.metrics.listeners.set_function(lambda: len(self.events))
        self.metrics.refused.set_function(lambda: bool(self.flag_store.problem))
        self.metrics.store_away.set_function(lambda: self.sync.is_unavailable)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes, and end the streams when the process is told to stop."""
        evaluator = Evaluator(self.flag_store, self.sync, self.metrics)
        settings = self._settings
        app.include_router(make_router(self.flag_store, self.events, evaluator, self.admin, settings.trusted_proxies))
        app.include_router(make_ofrep_router(self.flag_store, self.events, evaluator))
        app.state.service.on_drain.append(self.events.close)

    async def start(self) -> None:
        """Read the flags and go on polling."""
        self._showing.enter_context(self.flag_store.subscribe(lambda _: self.metrics.show(self.flag_store.current)))
        self.metrics.show(self.flag_store.current)
        await self.sync.start()

    async def aclose(self) -> None:
        """Stop polling."""
        self.events.close()
        await self.sync.aclose()
        self._showing.close()

    # The library for Redis takes a third of the time to start, hence it is imported only where there is Redis.

    def _make_store(self) -> "OverrideStore | None":
        if not self._settings.redis_url:
            return None
        from bff_proxy.flags.redis_store import OverrideStore

        return OverrideStore(self._settings.redis_url)
