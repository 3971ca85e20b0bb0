"""The routes of chart data."""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from weakref import WeakValueDictionary

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.single_flight import SingleFlight, joined
from bff_aggregator.cache.store import Store
from bff_aggregator.charts import openapi
from bff_aggregator.charts.encode import MEDIA_TYPES, Facts, edition_of
from bff_aggregator.charts.query import ChartQuery, parse, parse_symbol
from bff_aggregator.charts.response_cache import CodedBody, Representation, ResponseCache
from bff_aggregator.charts.service import NAMESPACE, Chart, ChartService
from bff_aggregator.http import cache_headers, content_coding
from bff_aggregator.http.cache_headers import RequestHeaders
from bff_aggregator.http.cpu_limiter import SMALL_BYTES, CpuLimiter
from bff_aggregator.http.deadline import request_deadline
from bff_shared.access.credentials import Reader, Readers
from bff_shared.admin_access import require_admin
from bff_shared.backend_keys import MAX_SYMBOL
from bff_shared.errors import MethodNotAllowed
from bff_shared.http.context import current
from bff_shared.http.headers import Header
from bff_shared.http.responses import JsonResponse

PATH = "/api/v1/chart-data"
METHODS = frozenset(("GET", "HEAD"))
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
        status, headers, pieces = await self._reply(scope["query_string"], scope["headers"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1]})

    async def respond(self, request: Request) -> Response:
        """Respond as a route of the framework."""
        status, headers, pieces = await self._reply(request.scope["query_string"], request.headers.raw)
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

    async def plain(self, query_string: bytes, asked: RequestHeaders, begun: float) -> tuple[Sequence[bytes], str]:
        """Return the pieces of a response in no coding, and the entity tag that it would have in the client's.

        For a request that came at `begun` (monotonic seconds). Raises BackendRefusal too.
        """
        deadline = request_deadline(begun, self._timeout, asked.timeout)
        query = self._parse(query_string, self.today())
        reader = self._readers(asked.credentials)
        representation = self._responses.get(reader.principal, query)
        if representation is None:
            with self._charts.answering():
                _, representation = await self._make(query, reader, deadline)
        else:
            if not self._charts.access.is_good(reader, representation.question):
                await self._charts.access.require(reader, representation.question, deadline)
            self._hits.inc()
        coding = content_coding.choose(asked.encoding, representation.length)
        return representation.pieces, representation.tag(coding)

    async def _reply(self, query_string: bytes, headers: Iterable[Header]) -> Reply:
        begun = time.perf_counter()
        asked = cache_headers.parse(headers)
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
            passed = Response(refused.content, refused.status, {**refused.headers, "cache-control": "no-store"})
            return refused.status, passed.raw_headers, (refused.content,)
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
