"""The view of a run: its head, its chart and the run itself in one answer, each sent as soon as it is there. I/O."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from bff_aggregator.backend.part import PARTS
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.charts.routes import ChartEndpoint
from bff_aggregator.http import cache_headers, content_coding, response_budget
from bff_aggregator.http.cache_headers import RequestHeaders
from bff_aggregator.http.cpu_limiter import SMALL_BYTES, CpuLimiter
from bff_aggregator.http.deadline import request_deadline
from bff_aggregator.http.head_routes import answer_head
from bff_aggregator.runs.encode import Shape
from bff_aggregator.runs.response import UNKNOWN_SIZE, RunResponses
from bff_aggregator.runs.revision import RunBundle, RunSnapshot
from bff_aggregator.runs.routes import MOST, RunId, Timeout, refusal_response, status_body
from bff_aggregator.runs.service import RunService
from bff_aggregator.view import ndjson, openapi
from bff_shared.access.credentials import Reader, Readers
from bff_shared.errors import BffError, DatasetNotFound, Internal
from bff_shared.http.context import correlation_id
from bff_shared.http.headers import Header
from bff_shared.outcomes import CHART_DATA, RUN_DATA, Outcomes

log = logging.getLogger(__name__)
HEADERS: Final[list[Header]] = [
    (b"content-type", openapi.NDJSON.encode()),
    (b"cache-control", b"private, no-store"),
    (b"vary", b"Authorization, Cookie, Accept-Encoding"),
    # nginx would keep the lines back until it has a buffer full of them.
    (b"x-accel-buffering", b"no"),
]
_STAND_IN: Final = "X"
PartBody = tuple[Sequence[bytes], str | None]
"""The pieces of a part's JSON body, and its entity tag where it has one."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Dependencies of a view: the same services that back /status, /chart-data and /complete.

    `readers` tell who asks for a run, `run_timeout` is how many seconds one may take; `told` counts parts by name and
    status, `outcomes` counts them for the budgets of flags. `cpu` compresses what is large.
    """

    runs: RunService
    replies: RunResponses
    charts: ChartEndpoint
    readers: Readers
    run_timeout: float
    told: Counter
    outcomes: Outcomes
    cpu: CpuLimiter


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """One request: which run for whom, what of the chart, most points of equity, and when it came (monotonic).

    `symbol` is the run's if the client knows it already.
    """

    run_id: str
    user: Reader
    headers: RequestHeaders
    chart: ndjson.Pairs
    symbol: str | None
    equity_points: int
    begun: float
    scope: Scope


def make_router(sources: Sources) -> APIRouter:
    """Return the route of views."""
    router = APIRouter(prefix="/api/v1", tags=["runs"])

    @router.get("/runs/{run_id}/view", response_class=View, **openapi.VIEW)
    async def view(
        request: Request,
        run_id: RunId,
        *,
        equity_points: Annotated[int, Query(ge=0, le=MOST, description="most points of equity; 0: all")] = 2000,
        x_request_timeout: Timeout = None,
    ) -> Response:
        begun = time.monotonic()
        asked = cache_headers.parse(request.headers.raw)
        asked.timeout = x_request_timeout
        chart = ndjson.chart_fields(request.scope["query_string"])
        today = sources.charts.today().isoformat()
        symbol = ndjson.known_symbol(request.scope["query_string"], chart)
        sources.charts.check(ndjson.chart_query(chart, symbol or _STAND_IN, (today, today)))
        user = sources.readers(asked.credentials)
        return View(sources, ViewRequest(run_id, user, asked, chart, symbol, equity_points, begun, request.scope))

    answer_head(router)
    return router


class View(Response):
    """The answer to one request, made while it is sent; a client that goes away ends it."""

    def __init__(self, sources: Sources, asked: ViewRequest) -> None:
        super().__init__()
        self._sources, self._asked = sources, asked
        self._coding = content_coding.choose(asked.headers.encoding, UNKNOWN_SIZE)
        self._stream = content_coding.Stream(self._coding)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application; raises what keeps the head from being had."""
        answering, leaving = asyncio.create_task(self._answer(send)), asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        except BackendRefusal as refused:
            await refusal_response(refused)(scope, receive, send)
        finally:
            await _end(answering, leaving)

    async def _answer(self, send: Send) -> None:
        """Send the head as soon as the run is seen, and the other parts in the order in which they come."""
        asked, seen_run = self._asked, asyncio.get_running_loop().create_future()
        deadline = request_deadline(asked.begun, self._sources.run_timeout, asked.headers.timeout)
        bundle = asyncio.create_task(
            self._sources.runs.load(asked.user, asked.run_id, PARTS, deadline, seen_run.set_result)
        )
        parts: list[asyncio.Task[list[bytes]]] = []
        # Bars are asked for before the curve, behind which they might have to wait.
        early = (
            asyncio.create_task(self._line("chart", lambda: self._bars(asked.symbol or "", None)))
            if asked.symbol
            else None
        )
        try:
            await asyncio.wait((bundle, seen_run), return_when=asyncio.FIRST_COMPLETED)
            seen = seen_run.result() if seen_run.done() else (await bundle).snapshot
            if asked.scope["method"] == "HEAD":
                await send({"type": "http.response.start", "status": 200, "headers": self._head()})
                await send({"type": "http.response.body", "body": b""})
                return
            if early is not None and asked.symbol == seen.run["symbol"]:
                parts.append(early)
            else:
                parts.append(asyncio.create_task(self._line("chart", lambda: self._chart(seen))))
            parts.append(asyncio.create_task(self._line("run", lambda: self._run(bundle))))
            await self._begin(send, seen)
            pending = set(parts)
            while pending:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                ready = [part for part in parts if part not in pending]
                parts = [part for part in parts if part in pending]
                await self._send(send, [piece for part in ready for piece in part.result()], more=bool(pending))
        finally:
            await _end(bundle, *parts, *(() if early is None else (early,)))

    def _head(self) -> list[Header]:
        coded = [] if self._coding == content_coding.IDENTITY else [(b"content-encoding", self._coding.encode())]
        return [*HEADERS, *coded]

    async def _begin(self, send: Send, seen: RunSnapshot) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._head()})
        head = ndjson.line("head", 200, orjson.dumps(status_body(RunBundle(seen, {}))))
        await self._send(send, [head], more=True)

    async def _send(self, send: Send, pieces: Sequence[bytes], *, more: bool) -> None:
        """Send lines so that the client can read them at once; what is large is neither copied nor held up."""
        size = sum(map(len, pieces))
        if size < SMALL_BYTES:
            pieces = [self._stream.add(b"".join(pieces))]
        elif self._coding != content_coding.IDENTITY:
            pieces = [await self._sources.cpu.steps(size, self._stream.steps(pieces))]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not more:
            await send({"type": "http.response.body", "body": self._stream.end(), "more_body": False})

    async def _line(self, name: str, make: Callable[[], Awaitable[PartBody]]) -> list[bytes]:
        """Return the line of a part, in pieces, whatever becomes of it."""
        status, line, excused = await _part_line(name, make)
        self._sources.told.labels(name, status).inc()
        if not excused:
            self._count(name, status)
        return line

    def _count(self, name: str, status: int) -> None:
        """Count a chart for its own flag's budget, as one that was asked for alone; the view itself counts as a run."""
        piece, requests = (CHART_DATA, 1) if name == "chart" else (RUN_DATA, 0)
        seconds = time.monotonic() - self._asked.begun
        self._sources.outcomes.part(self._asked.scope, piece, status, seconds, requests=requests)

    async def _run(self, bundle: Awaitable[RunBundle]) -> PartBody:
        asked = self._asked
        shape = Shape(asked.equity_points, MOST)
        return await self._sources.replies.plain(asked.user, await bundle, shape, asked.headers.encoding, asked.begun)

    async def _chart(self, seen: RunSnapshot) -> PartBody:
        """Return the chart of the run's symbol. Raises DatasetNotFound where it has none, or no window."""
        asked, symbol, window = self._asked, seen.run["symbol"], ndjson.window_of(seen.run)
        if not isinstance(symbol, str) or not symbol:
            raise DatasetNotFound("the run has no symbol", {"run_id": asked.run_id})
        if window is None and not ndjson.has_window(asked.chart):
            raise DatasetNotFound("the run has no window", {"run_id": asked.run_id})
        return await self._bars(symbol, window)

    async def _bars(self, symbol: str, window: tuple[str, str] | None) -> PartBody:
        query = ndjson.chart_query(self._asked.chart, symbol, window or ("", ""))
        return await self._sources.charts.plain(query, self._asked.headers, self._asked.begun)


async def _part_line(name: str, make: Callable[[], Awaitable[PartBody]]) -> tuple[int, list[bytes], bool]:
    """Return what became of a part, its line, and whether its failure is the client's own doing."""
    try:
        body, tag = await make()
        response_budget.acquire(sum(map(len, body)))
    except BackendRefusal as refused:
        return refused.status, [ndjson.refusal(name, refused.status, refused.content, correlation_id())], False
    except BffError as error:
        return error.status, [ndjson.failure(name, error, correlation_id())], error.excused
    except Exception:
        log.exception("a part of a view failed")
        defect = Internal("the service failed to answer")
        return defect.status, [ndjson.failure(name, defect, correlation_id())], False
    return 200, ndjson.line_pieces(name, 200, body, tag), False


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Task[object]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
