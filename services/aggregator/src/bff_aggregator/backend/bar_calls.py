"""The backend's bars over HTTP: one call per range of dates, its answer as columns."""

import logging
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import httpx

from bff_aggregator.backend import bars_reader
from bff_aggregator.backend.bars import Source, empty
from bff_aggregator.backend.bars_reader import Parsed
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_shared.errors import BackendMalformed, BackendUnavailable, Busy
from bff_shared.http.headers import Header
from bff_shared.upstream.client import BackendResponse, Call, Upstream, credentials_and_ids

log = logging.getLogger(__name__)
PASSED_ON = frozenset((401, 403, 429))


@dataclass(frozen=True, slots=True)
class Range:
    """Which bars: those of a symbol on the UTC dates `first` to `last`, both included, or all if they are None.

    `rth_only` is None for daily bars, which know no such thing.
    """

    symbol: str
    source: Source
    rth_only: bool | None
    first: date | None = None
    last: date | None = None

    @property
    def target(self) -> bytes:
        """The raw path and query of the call."""
        query: dict[str, str] = {"symbol": self.symbol}
        if self.first is not None and self.last is not None:
            query |= {"from": self.first.isoformat(), "to": self.last.isoformat()}
        if self.rth_only is not None:
            query["rth_only"] = "true" if self.rth_only else "false"
        return f"/bars/{self.source}?{urllib.parse.urlencode(query)}".encode()


async def fetch(
    upstream: Upstream, wanted: Range, credentials: Sequence[Header], deadline: float, cpu: CpuLimiter
) -> Parsed | None:
    """Ask the backend for a range of bars; None if it has none (404).

    Raises BackendRefusal, an UpstreamError (BackendMalformed where the answer is not what the contract says) or Busy.
    """
    call = Call("GET", wanted.target, credentials_and_ids(credentials), deadline=deadline)
    answer = await upstream.fetch(call)
    if answer.status == httpx.codes.NOT_FOUND:
        return None
    _check(answer)
    trades = wanted.source is Source.DAILY
    try:
        parsed = await cpu.run(len(answer.content), lambda: bars_reader.parse(answer.content, trades=trades))
    except bars_reader.Malformed as error:
        raise BackendMalformed(f"the backend's bars cannot be read: {error}") from error
    except Busy:
        raise
    except Exception as error:  # bars that no reader has thought of are not worth the other charts of this service
        log.exception("unreadable bars", extra={"symbol": wanted.symbol, "source": wanted.source})
        raise BackendMalformed("the backend's bars cannot be read") from error
    if parsed.rejected:
        fields = {"symbol": wanted.symbol, "source": wanted.source, "rejected": parsed.rejected}
        log.warning("bars put right or left out", extra=fields)
    return parsed


def nothing(source: Source) -> Parsed:
    """Return what a range without bars amounts to."""
    return Parsed(empty(trades=source is Source.DAILY), 0)


def _check(answer: BackendResponse) -> None:
    """Raise what an answer other than 200 amounts to."""
    if answer.status == httpx.codes.OK:
        return
    if answer.status in PASSED_ON:
        raise BackendRefusal(answer)
    details = {"backend_status": answer.status}
    if answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise BackendUnavailable(f"the backend failed with status {answer.status}", details)
    raise BackendMalformed(f"the backend answered {answer.status} to a well-formed request", details)
