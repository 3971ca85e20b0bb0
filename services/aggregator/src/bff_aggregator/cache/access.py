"""Who reads charts, runs and lists: the rules of each, and one gate for all. Data and access to it are kept apart.

The cache finds data by principal, the gate lets a credential at it: `bff_shared.access` says how.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from bff_aggregator.settings import AggregatorSettings
from bff_shared.access.credentials import CacheScope, Readers, Rules
from bff_shared.access.gate import AccessGate
from bff_shared.access.refusal import Refusal
from bff_shared.access.verdicts import Periods, Verdicts


@dataclass(frozen=True, slots=True)
class Access:
    """The gate, and who asks for what: `lists` are about one user, so they are never shared with others."""

    gate: AccessGate
    charts: Readers
    runs: Readers
    lists: Readers


def make_access(
    settings: AggregatorSettings,
    digest_key: Callable[[], bytes],
    refusal: Callable[[Exception], Refusal],
    expected: tuple[type[Exception], ...],
    clock: Callable[[], float],
) -> Access:
    """Return the access to a process's cache.

    Args:
        settings: scopes and periods.
        digest_key: returns the key of the digests of credentials.
        refusal: what an exception of a call says of access.
        expected: the exceptions by which calls report failures.
        clock: Unix seconds.
    """
    common = Rules(CacheScope(settings.cache_scope), settings.identity_claim, frozenset(settings.credential_cookies))
    charts = replace(common, scope=CacheScope(settings.cache_scope_charts or settings.cache_scope))
    runs = replace(common, scope=CacheScope(settings.cache_scope_runs or settings.cache_scope))
    verdicts = Verdicts(Periods(settings.access_seconds, settings.access_stale_seconds))
    gate = AccessGate(verdicts, refusal, clock, expected=expected)

    def readers(rules: Rules) -> Readers:
        return lambda headers: rules.reader(digest_key(), headers)

    return Access(gate, readers(charts), readers(runs), readers(runs.narrowed()))
