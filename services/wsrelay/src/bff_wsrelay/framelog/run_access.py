"""Who may watch runs: asked for with a run's detail, and the verdicts kept as those on cached data are. I/O."""

import time
from collections.abc import Sequence

from bff_shared.access.credentials import CacheScope, Reader, Rules
from bff_shared.access.gate import AccessGate
from bff_shared.access.verdicts import Periods, Verdicts
from bff_shared.errors import BffError
from bff_shared.http.headers import Header
from bff_shared.upstream.client import Upstream
from bff_wsrelay.framelog.failures import Failure, refusal_of, resource_of
from bff_wsrelay.framelog.run_client import RunClient
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.connector import Connector

QUESTION_SECONDS = 2.0


class RunAccess:
    """Tells who asks, and has the backend judge who may watch a run.

    Args:
        settings: with whom logs are shared, and how long verdicts hold.
        upstream: the backend.
        connector: the same for streams.
        secret: the key of the digests of credentials.
    """

    def __init__(self, settings: RelaySettings, upstream: Upstream, connector: Connector, secret: bytes) -> None:
        scope = CacheScope(settings.cache_scope_runs or settings.cache_scope)
        self._rules = Rules(scope, settings.identity_claim, frozenset(settings.credential_cookies))
        self._upstream, self._connector, self._secret = upstream, connector, secret
        periods = Periods(settings.access_seconds, settings.access_stale_seconds)
        self.gate = AccessGate(Verdicts(periods), refusal_of, expected=(BffError, Failure))

    def reader(self, credentials: Sequence[Header]) -> Reader:
        """Return who asks with these headers."""
        return self._rules.reader(self._secret, credentials)

    async def require(self, reader: Reader, run_id: str) -> None:
        """Return once a reader may watch a run; raise Failure, UpstreamError or Busy."""
        await self.gate.require(reader.credential, resource_of(run_id), lambda: self._ask(reader, run_id), _deadline())

    async def renew(self, reader: Reader, run_id: str) -> bool:
        """Ask whether a reader may still watch a run; true if the backend could not be asked. Raises as `require`."""
        return await self.gate.renew(
            reader.credential, resource_of(run_id), lambda: self._ask(reader, run_id), _deadline()
        )

    def may_stretch(self, reader: Reader, run_id: str) -> bool:
        """Tell whether a reader may watch a run while the backend cannot be asked."""
        return self.gate.may_stretch(reader.credential, resource_of(run_id))

    async def _ask(self, reader: Reader, run_id: str) -> None:
        await RunClient(run_id, reader.credentials, self._upstream, self._connector).fetch_detail(QUESTION_SECONDS)


def _deadline() -> float:
    return time.monotonic() + QUESTION_SECONDS
