"""Everything about flags that a proxy holds, put together: the board, what keeps it in step, and the routes."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from bff_proxy.flag_admin import FlagAdmin
from bff_proxy.flag_board import FlagBoard
from bff_proxy.flag_events import FlagEvents, StreamLimits
from bff_proxy.flag_metrics import FlagMetrics
from bff_proxy.flag_routes import Evaluator, make_ofrep_router, make_router
from bff_proxy.flag_sync import FlagSync
from bff_proxy.flags import quiet_library
from bff_proxy.rollback import Budget, Rollback
from bff_proxy.settings import ProxySettings
from bff_shared.limits import ConnectionLimiter
from bff_shared.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from bff_proxy.flag_store import FlagStore
    from bff_proxy.rollback_watch import RollbackWatch

log = logging.getLogger(__name__)


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
        self._watch = self._make_watch()
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
        if self._watch is not None:
            self._watch.start()

    async def aclose(self) -> None:
        """Stop looking."""
        self.events.close()
        if self._watch is not None:
            await self._watch.aclose()
        await self.sync.aclose()
        self._showing.close()

    # The library for Redis takes a third of the time to start, hence it is imported only where there is Redis.

    def _make_store(self) -> "FlagStore | None":
        if not self._settings.redis_url:
            return None
        from bff_proxy.flag_store import FlagStore

        return FlagStore(self._settings.redis_url)

    def _make_watch(self) -> "RollbackWatch | None":
        settings = self._settings
        if not settings.rollback_enabled:
            return None
        if not settings.redis_url:
            log.warning("BFF_ROLLBACK_ENABLED has no effect without BFF_REDIS_URL")
            return None
        from bff_proxy.rollback_watch import RollbackWatch
        from bff_shared.outcome_log import OutcomeLog

        budget = Budget(
            settings.rollback_window,
            settings.rollback_min_requests,
            settings.rollback_error_share,
            settings.rollback_slow_share,
            settings.rollback_min_clients,
        )
        return RollbackWatch(self.board, self.admin, OutcomeLog(settings.redis_url), Rollback(budget))
