"""The parts of a run as the backend gives them: one call each, read into our vocabulary. I/O.

Under pressure looks at runs go before metrics and orders, and these before equity curves, which take megabytes.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from bff_aggregator.backend import schema
from bff_aggregator.backend.equity_stream import CurveReader
from bff_aggregator.backend.metrics import CallMetrics
from bff_aggregator.backend.part import RUN, Part, State, failed_part
from bff_aggregator.backend.priority import PriorityClass, PriorityLimiter
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.backend.run_frames import Complete, RunFrames
from bff_aggregator.backend.schema import Json, UnexpectedShape
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.settings import AggregatorSettings
from bff_shared.access.credentials import Reader
from bff_shared.errors import (
    ArtifactMissing,
    BackendMalformed,
    BackendTimeout,
    BackendUnavailable,
    BffError,
    Internal,
    RunNotFound,
)
from bff_shared.upstream.client import BackendResponse, Call, Upstream, credentials_and_ids
from bff_shared.upstream.concurrency_limit import ConcurrencyLimit

log = logging.getLogger(__name__)
TRANSIENT = frozenset((500, 502, 503, 504))
ABSENT = frozenset((404, 410))
MAX_TEXT = 500
UNREADABLE = "the service failed to read this part"
RUNS, SMALL_PARTS, EQUITY_CURVES = 0, 1, 2
RUNS_AT_ONCE, SMALL_PARTS_AT_ONCE = 64, 32
MAX_WAIT_SECONDS = (0.3, 0.5, 1.0)
Read = tuple[BackendResponse, Json | None]
OrderFacts = Callable[[list[Json]], Json]


class RunSource:
    """Asks the backend for runs. Each call has `run_late_timeout` seconds, and one retry within a budget.

    At most `equity_calls` equity curves are read at once, since each takes megabytes. `aclose` ends reading.
    """

    def __init__(
        self,
        upstream: Upstream,
        settings: AggregatorSettings,
        metrics: CallMetrics,
        order_facts: OrderFacts,
        complete: Complete,
        cpu: CpuLimiter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what computes the facts of orders and lacking metrics, and a clock in seconds since the Unix epoch."""
        self._upstream, self._metrics, self._clock = upstream, metrics, clock
        self._order_facts, self._cpu = order_facts, cpu
        self._timeout = settings.run_late_timeout
        self._heavy = ConcurrencyLimit(settings.equity_calls, 1024, self._timeout)
        widths = (RUNS_AT_ONCE, SMALL_PARTS_AT_ONCE, settings.equity_calls)
        self._limiter = PriorityLimiter(
            [PriorityClass(width, max_wait) for width, max_wait in zip(widths, MAX_WAIT_SECONDS, strict=True)]
        )
        self._curves = CurveReader(upstream)
        self._frames = RunFrames(upstream, cpu, order_facts, complete, self._heavy)

    async def aclose(self) -> None:
        """Read no more curves, and no frames."""
        self._curves.close()
        await self._frames.aclose()

    async def fetch_run(self, user: Reader, run_id: str) -> Json:
        """Return a run's detail in our vocabulary.

        Raises RunNotFound, BackendRefusal for another error of the client's, or an UpstreamError or Busy.
        """
        async with self._limiter.enter(RUNS):
            answer, _ = await self._get(user, RUN, path(run_id), self._whole)
        if answer.status in ABSENT:
            raise RunNotFound(f"there is no run {run_id}", {"run_id": run_id})
        check(answer)
        try:
            return schema.run_of(schema.read_json(answer.content))
        except UnexpectedShape as error:
            raise BackendMalformed(f"the backend's answer is not a run: {error}") from error

    async def fetch_list(self, user: Reader, query: str) -> bytes:
        """Return the text of a page of the list of runs; raise as `look` does."""
        async with self._limiter.enter(RUNS):
            answer, _ = await self._get(user, "list", b"/backtests?" + query.encode(), self._whole)
        if answer.status != 200:
            check(answer)
            raise BackendRefusal(answer)
        return answer.content

    async def fetch_part(self, user: Reader, run_id: str, name: str, *, ahead: bool = False) -> Part:
        """Return a part of a run, whatever became of it; `ahead` where nobody waits for it yet."""
        began, begun = self._clock(), time.monotonic()
        try:
            return await self._part(user, run_id, name, began, ahead=ahead)
        except BffError as error:
            state = State.TIMEOUT if isinstance(error, BackendTimeout) else State.FAILED
            return failed_part(name, state, describe(error), began, self._clock())
        except Exception:  # whatever one part holds, the others are there
            log.exception("a part of a run could not be read", extra={"run_id": run_id, "part": name})
            return failed_part(name, State.FAILED, describe(Internal(UNREADABLE)), began, self._clock())
        finally:
            self._metrics.seconds.labels(name).observe(time.monotonic() - begun)

    async def _part(self, user: Reader, run_id: str, name: str, began: float, *, ahead: bool) -> Part:
        try:
            answer, read = await (self._curve(user, run_id) if name == "equity" else self._small(user, run_id, name))
            if has_no_route(answer):
                return await self._from_frames(user, run_id, name, began, ahead=ahead)
            if answer.status in ABSENT:
                return failed_part(name, State.MISSING, explain(answer), began, self._clock())
            if answer.status != 200:
                return failed_part(name, State.FAILED, explain(answer), began, self._clock())
            told = await self._read(name, answer.content) if read is None else read
        except UnexpectedShape as error:
            raise BackendMalformed(f"the backend's answer is not what it should be: {error}") from error
        return Part(name, State.OK, began=began, at=self._clock(), **told)

    async def _from_frames(self, user: Reader, run_id: str, name: str, began: float, *, ahead: bool) -> Part:
        """Return a part as the run's frames have it, which is all that this version of the backend offers."""
        try:
            told = await self._frames.part(user.credentials, user.credential, path(run_id), name, ahead=ahead)
        except ArtifactMissing as error:
            return failed_part(name, State.MISSING, describe(error), began, self._clock())
        return Part(name, State.OK, began=began, at=self._clock(), from_frames=True, **told)

    async def _read(self, name: str, text: bytes) -> Json:
        """Read a part, beside the event loop if it is large enough to hold up other requests."""
        return await self._cpu.run(len(text), read_part, name, text, self._order_facts)

    async def _small(self, user: Reader, run_id: str, name: str) -> Read:
        async with self._limiter.enter(SMALL_PARTS):
            return await self._get(user, name, path(run_id) + b"/" + name.encode(), self._whole)

    async def _curve(self, user: Reader, run_id: str) -> Read:
        await self._heavy.acquire()
        try:
            async with self._limiter.enter(EQUITY_CURVES):
                return await self._get(user, "equity", path(run_id) + b"/equity", self._curves.fetch)
        finally:
            self._heavy.release()

    async def _whole(self, call: Call) -> Read:
        return await self._upstream.fetch(call), None

    async def _get(self, user: Reader, kind: str, target: bytes, fetch: Callable[[Call], Awaitable[Read]]) -> Read:
        """Make a call, once more if it failed in passing and the budget of all retries allows it."""
        headers = credentials_and_ids(user.credentials)
        call = Call("GET", target, headers, deadline=time.monotonic() + self._timeout, circuit=kind)
        call.attempts, call.repeat_statuses, call.on_repeat = 2, TRANSIENT, self._metrics.retries.labels(kind).inc
        return await fetch(call)


def path(run_id: str) -> bytes:
    """Return the backend's path of a run; an id of dots alone would mean another one (RFC 3986 section 5.2.4)."""
    return b"/backtests/" + quote(run_id, safe="").encode()


def read_part(name: str, text: bytes, order_facts: OrderFacts) -> Json:
    """Return the fields of a Part, metrics or orders, that an answer's text gives. Raises UnexpectedShape."""
    answer = schema.read_json(text)
    if name == "metrics":
        return {"data": schema.metrics_of(answer)}
    orders = schema.orders_of(answer)
    rest = {key: value for key, value in answer.items() if key != "orders"} if isinstance(answer, dict) else {}
    return {"data": orders, "extra": rest or None, "count": len(orders), "facts": order_facts(orders)}


def has_no_route(answer: BackendResponse) -> bool:
    """Tell whether the backend does not have a route at all, which its framework says in two words."""
    return answer.status == 404 and answer.content.replace(b" ", b"") == b'{"detail":"NotFound"}'


def check(answer: BackendResponse) -> None:
    """Raise what a backend's answer other than 200 amounts to where the answer is needed."""
    if answer.status == 200:
        return
    if 400 <= answer.status < 500:
        raise BackendRefusal(answer)
    raise BackendUnavailable(f"the backend answered {answer.status}", {"backend_status": answer.status})


def describe(error: BffError) -> Json:
    """Return an error of ours as a part shows it."""
    return {"code": error.code, "message": error.message, **error.details}


def explain(answer: BackendResponse) -> Json:
    """Return an error of the backend's as a part shows it: its own code and message where it has them."""
    try:
        body = schema.read_json(answer.content)
    except UnexpectedShape:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and isinstance(error.get("code"), str):
        told = {"code": error["code"][:MAX_TEXT], "message": str(error.get("message", ""))[:MAX_TEXT]}
    else:
        detail = body.get("detail") if isinstance(body, dict) else None
        text = detail[:MAX_TEXT] if isinstance(detail, str) else f"the backend answered {answer.status}"
        told = {"code": "NOT_FOUND" if answer.status in ABSENT else "BACKEND_UNAVAILABLE", "message": text}
    return {**told, "status": answer.status}
