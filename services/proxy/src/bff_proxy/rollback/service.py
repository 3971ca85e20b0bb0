"""Makes the watcher that the settings ask for."""

import logging
from typing import TYPE_CHECKING

from bff_proxy.flags.service import FlagService
from bff_proxy.rollback.budgets import Budget, Rollback
from bff_proxy.settings import ProxySettings

if TYPE_CHECKING:
    from bff_proxy.rollback.watcher import RollbackWatcher

log = logging.getLogger(__name__)


def make_watcher(settings: ProxySettings, flags: FlagService) -> "RollbackWatcher | None":
    """Return what rolls flags back, not started yet; None where the rollback is off or there is no Redis."""
    if not settings.rollback_enabled:
        return None
    if not settings.redis_url:
        log.warning("BFF_ROLLBACK_ENABLED has no effect without BFF_REDIS_URL")
        return None
    # The library for Redis takes a third of the time to start, hence it is imported only where there is Redis.
    from bff_proxy.rollback.watcher import RollbackWatcher
    from bff_shared.outcome_log import OutcomeLog

    budget = Budget(
        settings.rollback_window,
        settings.rollback_min_requests,
        settings.rollback_error_share,
        settings.rollback_slow_share,
        settings.rollback_min_clients,
    )
    return RollbackWatcher(flags.flag_store, flags.admin, OutcomeLog(settings.redis_url), Rollback(budget))
