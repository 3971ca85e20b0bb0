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
from bff_aggregator.charts.response_cache import Representation
from bff_aggregator.charts.routes import ChartEndpoint
from bff_aggregator.charts.staged import Stages
from bff_aggregator.http import cache_headers, content_coding, response_budget
from bff_aggregator.http.cache_headers import RequestHeaders
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.http.deadline import request_deadline
from bff_aggregator.http.head_routes import answer_head
from bff_aggregator.http.line_stream import LineStream
from bff_aggregator.runs.encode import Shape
from bff_aggregator.runs.response import RunResponses
from bff_aggregator.runs.revision import RunBundle, RunSnapshot
from bff_aggregator.runs.routes import MOST, RunId, Timeout, refusal_response, status_body
from bff_aggregator.runs.service import RunService
from bff_aggregator.view import ndjson, openapi
from bff_shared.access.credentials import Reader, Readers
from bff_shared.errors import BffError, Busy, DatasetNotFound, Internal
from bff_shared.http.context import correlation_id
from bff_shared.outcomes import CHART_DATA, RUN_DATA, Outcomes

log = logging.getLogger(__name__)
_VARY: Final = b"Authorization, Cookie, Accept-Encoding"
_STAND_IN: Final = "X"
PREVIEW: Final = "chart_preview"
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
        self._previews = list[asyncio.Task[list[bytes]]]()

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
        lines = LineStream(send, asked.headers.encoding, _VARY, self._sources.cpu)
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
                await lines.begin()
                await lines.end_without_lines()
                return
            if early is not None and asked.symbol == seen.run["symbol"]:
                parts.append(early)
            else:
                parts.append(asyncio.create_task(self._line("chart", lambda: self._chart(seen))))
            parts.append(asyncio.create_task(self._line("run", lambda: self._run(bundle))))
            await lines.begin()
            await lines.add([ndjson.line("head", 200, orjson.dumps(status_body(RunBundle(seen, {}))))], more=True)
            await self._send_parts(lines, parts)
        finally:
            await _end(bundle, *parts, *self._previews, *(() if early is None else (early,)))

    async def _send_parts(self, lines: LineStream, parts: Sequence[asyncio.Task[list[bytes]]]) -> None:
        """Send parts as they come, and previews of those that have not come yet."""
        pending = set(parts)
        while pending:
            waiting = {preview for preview in self._previews if not preview.done()}
            await asyncio.wait(pending | waiting, return_when=asyncio.FIRST_COMPLETED)
            ready = [part for part in parts if part in pending and part.done()]
            pending -= set(ready)
            previews = [preview for preview in waiting if preview.done()]
            pieces = [piece for task in (*previews, *ready) for piece in task.result()]
            # A part may have asked for a preview meanwhile.
            if pieces or not pending:
                await lines.add(pieces, more=bool(pending))

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
        """Return the chart, and have its preview sent if that comes first."""
        query, asked = ndjson.chart_query(self._asked.chart, symbol, window or ("", "")), self._asked
        stages = await self._sources.charts.stages(query, asked.headers, asked.begun)
        self._previews.append(asyncio.create_task(_preview_line(stages)))
        chart = await stages.exact()
        return chart.pieces, chart.tag(content_coding.choose(asked.headers.encoding, chart.length))


async def _preview_line(stages: Stages[Representation]) -> list[bytes]:
    """Return the line of a preview, none where there is none or it is more than may be sent."""
    preview = await stages.preview()
    if preview is None:
        return []
    try:
        response_budget.acquire(preview.length)
    except Busy:
        return []
    return ndjson.line_pieces(PREVIEW, 200, preview.pieces, None)


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
