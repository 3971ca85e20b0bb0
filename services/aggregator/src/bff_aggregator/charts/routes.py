"""The routes of chart data."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from weakref import WeakValueDictionary

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.backend.refusal_body import as_error
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.single_flight import SingleFlight, joined
from bff_aggregator.cache.store import Store
from bff_aggregator.charts import openapi
from bff_aggregator.charts.encode import MEDIA_TYPES, Facts, edition_of
from bff_aggregator.charts.query import ChartQuery, Format, parse, parse_symbol
from bff_aggregator.charts.response_cache import CodedBody, Representation, ResponseCache
from bff_aggregator.charts.service import NAMESPACE, ChartService
from bff_aggregator.charts.staged import Stages
from bff_aggregator.charts.work import Chart
from bff_aggregator.http import cache_headers, content_coding, response_budget
from bff_aggregator.http.cache_headers import RequestHeaders
from bff_aggregator.http.cpu_limiter import SMALL_BYTES, CpuLimiter
from bff_aggregator.http.deadline import request_deadline
from bff_aggregator.http.line_stream import NDJSON, LineStream
from bff_shared.access.credentials import Reader, Readers
from bff_shared.admin_access import require_admin
from bff_shared.backend_keys import MAX_SYMBOL
from bff_shared.errors import BffError, MethodNotAllowed
from bff_shared.http.context import correlation_id, current
from bff_shared.http.headers import Header
from bff_shared.http.responses import JsonResponse

PATH = "/api/v1/chart-data"
METHODS = frozenset(("GET", "HEAD"))
_LINES_VARY = b"Accept, Accept-Encoding, Authorization, Cookie"
UNCONFIRMED = "hit; detail=access-unconfirmed"
"""What `Cache-Status` says where the backend could not be asked whether the reader may still read it."""
Reply = tuple[int, list[Header], Sequence[bytes]]
"""Status, headers and the pieces of the body of a response."""


def utc_today() -> date:
    """Return the date it is in UTC."""
    return datetime.now(UTC).date()


class ChartEndpoint:
    """Responds to chart requests: from the response cache, from chunks, or with 304 where the client has the response.

    It is a plain ASGI application, because a warm response costs less than a framework's way to it. It raises errors;
    the layers around it observe requests and make responses of errors.
    """

    def __init__(
        self,
        charts: ChartService,
        readers: Readers,
        responses: ResponseCache,
        metrics: CacheMetrics,
        timeout: float,
        today: Callable[[], date],
        cpu: CpuLimiter,
    ) -> None:
        self._charts, self._readers, self._responses = charts, readers, responses
        self._timeout, self.today, self._cpu = timeout, today, cpu
        self._in_use: WeakValueDictionary[Hashable, Representation] = WeakValueDictionary()
        self._compressions: SingleFlight[CodedBody] = SingleFlight(time.time)
        self._hits = metrics.hits.labels("answer", "memory")
        self._parse = lru_cache(maxsize=1024)(parse)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Respond as an ASGI application."""
        if context := current():
            context.route = PATH
        if scope["method"] not in METHODS:
            raise MethodNotAllowed("the resource does not support this method", ", ".join(sorted(METHODS)))
        asked = cache_headers.parse(scope["headers"])
        if NDJSON in asked.accept and scope["method"] == "GET":
            stages = await self.stages(scope["query_string"], asked, time.monotonic())
            if stages.has_preview:
                await self._lines(stages, asked, send)
                return
        await _send(send, await self._reply(scope["query_string"], asked))

    async def respond(self, request: Request) -> Response:
        """Respond as a route of the framework."""
        asked = cache_headers.parse(request.headers.raw)
        status, headers, pieces = await self._reply(request.scope["query_string"], asked)
        response = Response(b"".join(pieces), status)
        response.raw_headers = headers
        return response

    def check(self, query_string: bytes) -> None:
        """Raise InvalidRequest unless a query is acceptable."""
        self._parse(query_string, self.today())

    async def aclose(self) -> None:
        """End what is being made."""
        await self._compressions.aclose()
        await self._charts.aclose()

    async def stages(self, query_string: bytes, asked: RequestHeaders, begun: float) -> Stages[Representation]:
        """Return a chart in two stages, for a request that came at `begun` (monotonic seconds).

        The exact one raises BackendRefusal too. Raises InvalidRequest.
        """
        deadline = request_deadline(begun, self._timeout, asked.timeout)
        query = self._parse(query_string, self.today())
        reader = self._readers(asked.credentials)

        async def exact() -> Representation:
            found = self._responses.get(reader.principal, query)
            if found is None:
                with self._charts.answering():
                    return (await self._make(query, reader, deadline))[1]
            if not self._charts.access.is_good(reader, found.question):
                await self._charts.access.require(reader, found.question, deadline)
            self._hits.inc()
            return found

        async def preview() -> Representation | None:
            with self._charts.answering():
                chart = await self._charts.preview(query, reader, deadline)
            return None if chart is None else self._representation(reader.principal, query, chart, chart.facts)

        known = query.format is Format.ARROW or self._responses.get(reader.principal, query) is not None
        if known or not self._charts.has_preview(query, reader):
            return Stages(None, exact, in_turn=False)
        return Stages(preview, exact, in_turn=not self._charts.begins_with_hours(query))

    async def _lines(self, stages: Stages[Representation], asked: RequestHeaders, send: Send) -> None:
        """Respond with a line for each stage that comes; a failure after the preview is a line too."""
        preview, exact = asyncio.create_task(stages.preview()), asyncio.create_task(stages.exact())
        lines = LineStream(send, asked.encoding, _LINES_VARY, self._cpu)
        try:
            await asyncio.wait((preview, exact), return_when=asyncio.FIRST_COMPLETED)
            coarse = None if exact.done() else await preview
            if coarse is not None:
                response_budget.acquire(coarse.length)
                await lines.begin()
                await lines.add((*coarse.pieces, b"\n"), more=True)
            try:
                pieces = await _pieces(exact, as_line=lines.begun)
            except BackendRefusal as refused:
                await _send(send, _passed_on(refused))
                return
            if not lines.begun:
                await lines.begin()
            await lines.add((*pieces, b"\n"), more=False)
        finally:
            for task in (preview, exact):
                task.cancel()
            await asyncio.gather(preview, exact, return_exceptions=True)

    async def _reply(self, query_string: bytes, asked: RequestHeaders) -> Reply:
        begun = time.perf_counter()
        deadline = request_deadline(time.monotonic(), self._timeout, asked.timeout)
        query = self._parse(query_string, self.today())
        reader = self._readers(asked.credentials)
        representation = self._responses.get(reader.principal, query)
        try:
            if representation is None:
                with self._charts.answering():
                    return await self._made(asked, query, reader, deadline, begun)
            freshness = representation.hit(time.time())
            if not self._charts.access.is_good(reader, representation.question) and await self._charts.access.require(
                reader, representation.question, deadline
            ):
                freshness = cache_headers.freshness(0, UNCONFIRMED)
        except BackendRefusal as refused:
            return _passed_on(refused)
        self._hits.inc()
        return await self._respond(asked, representation, freshness, "", begun)

    async def _made(
        self, asked: RequestHeaders, query: ChartQuery, reader: Reader, deadline: float, begun: float
    ) -> Reply:
        """Return a response out of chunks; raise BackendRefusal too."""
        chart, representation = await self._make(query, reader, deadline)
        status = cache_status(chart)
        if chart.stretched:
            freshness = cache_headers.freshness(0, UNCONFIRMED if status == "hit" else status)
        else:
            freshness = cache_headers.freshness(int(chart.fresh_until - time.time()), status)
        steps = f"load;dur={chart.timings.load:.2f}, make;dur={chart.timings.make:.2f}, "
        return await self._respond(asked, representation, freshness, steps, begun)

    async def _make(self, query: ChartQuery, reader: Reader, deadline: float) -> tuple[Chart, Representation]:
        """Return a chart and its representation, which is cached where it is good for the next request too."""
        epoch = self._responses.epoch
        chart = await self._charts.chart(query, reader, deadline)
        principal = reader.principal
        representation = self._representation(principal, query, chart, chart.facts)
        if not chart.facts.stale:
            hit = chart.facts.hit
            cached = (
                representation if hit else self._representation(principal, query, chart, chart.facts.out_of_the_cache())
            )
            self._responses.put(principal, query, cached, epoch, again=hit)
        return chart, representation

    def _representation(self, principal: str, query: ChartQuery, chart: Chart, facts: Facts) -> Representation:
        """Return the one representation of a chart that all share who are told the same of how it came about."""
        encoded, origin = chart.encoded, (facts.source, facts.hit, facts.backend_calls)
        key = (principal, query.key, encoded.content, chart.fresh_until, origin)
        found = self._in_use.get(key)
        if found is None:
            media_type = MEDIA_TYPES[query.format]
            body, edition = encoded.body(facts), edition_of(facts)
            found = Representation(body, encoded.content, edition, media_type, chart.fresh_until, chart.question)
            self._in_use[key] = found
        return found

    async def _respond(
        self, asked: RequestHeaders, representation: Representation, freshness: list[Header], steps: str, begun: float
    ) -> Reply:
        """Return a response in the client's favourite coding, or 304 if the client has it."""
        coding = content_coding.choose(asked.encoding, representation.length)
        if asked.conditions and (known := content_coding.matching_tag(asked.conditions, representation.tag(coding))):
            timing = cache_headers.timing(steps, time.perf_counter() - begun)
            return 304, [*cache_headers.not_modified(known), *freshness, timing], (b"",)
        coded = representation.coded.get(coding) or await self._coded(representation, coding)
        timing = cache_headers.timing(steps, time.perf_counter() - begun)
        return 200, [*coded.headers, *freshness, timing], coded.pieces

    async def _coded(self, representation: Representation, coding: str) -> CodedBody:
        """Return the body in a coding that it has not been in, together with all who want the same."""
        if coding == content_coding.IDENTITY:
            return representation.code(coding, representation.pieces)
        if representation.length < SMALL_BYTES:
            return representation.code(coding, (content_coding.compress(b"".join(representation.pieces), coding),))

        async def compress() -> CodedBody:
            steps = content_coding.compress_steps(representation.pieces, coding)
            return representation.code(coding, (await self._cpu.steps(representation.length, steps),))

        coded, _ = await joined(self._compressions, (representation, coding), compress)
        return coded


async def _send(send: Send, reply: Reply) -> None:
    status, headers, pieces = reply
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": pieces[-1]})


def _passed_on(refused: BackendRefusal) -> Reply:
    passed = Response(refused.content, refused.status, {**refused.headers, "cache-control": "no-store"})
    return refused.status, passed.raw_headers, (refused.content,)


async def _pieces(exact: Awaitable[Representation], *, as_line: bool) -> Sequence[bytes]:
    """Return the pieces of the exact chart's body; where there was a line before it, those of its failure."""
    try:
        made = await exact
        response_budget.acquire(made.length)
    except BackendRefusal as refused:
        if not as_line:
            raise
        said = as_error(refused.status, refused.content, correlation_id())
        return (orjson.dumps({**said, "status": refused.status}),)
    except BffError as error:
        if not as_line:
            raise
        return (orjson.dumps({**error.body(correlation_id()), "status": error.status}, default=str),)
    return made.pieces


def cache_status(chart: Chart) -> str:
    """Return what the `Cache-Status` of a response out of chunks says of it (RFC 9211)."""
    loaded = chart.loaded
    found = cache_headers.outcome(failed=loaded.error is not None, hit=not loaded.made, reused=bool(loaded.hits))
    if loaded.error is not None or not loaded.made:
        return found
    return f"{found}; {'stored' if chart.facts.backend_calls else 'collapsed'}"


def make_router(endpoint: ChartEndpoint, store: Store) -> APIRouter:
    """Return the routes of chart data; the purge is there only where an admin token is set."""
    router = APIRouter(prefix="/api/v1", tags=["charts"])
    router.add_api_route("/chart-data", endpoint.respond, methods=["GET"], **openapi.CHART_DATA)

    @router.delete("/cache/chart-data", **openapi.PURGE)
    async def purge(
        request: Request, symbol: str = Query(description="what to forget", min_length=1, max_length=MAX_SYMBOL)
    ) -> Response:
        require_admin(request)
        wanted = parse_symbol(symbol)
        everywhere = await store.purge(NAMESPACE, wanted)
        return JsonResponse({"symbol": wanted, "purged": True, "everywhere": everywhere})

    return router
