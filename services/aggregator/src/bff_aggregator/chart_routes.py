"""The routes of chart data."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import SecretStr
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from bff_aggregator import chart_docs, codings, deadlines
from bff_aggregator.admin import require_admin
from bff_aggregator.bodies import MEDIA_TYPES
from bff_aggregator.cache_metrics import CacheMetrics
from bff_aggregator.charts import NAMESPACE, Chart, Charts
from bff_aggregator.kept import Answer, Kept
from bff_aggregator.query import SYMBOL_PATTERN, ChartQuery, parse, parse_symbol
from bff_aggregator.sources import Refused
from bff_aggregator.store import Store
from bff_shared.headers import credentials
from bff_shared.responses import JsonResponse

CACHE = "bff-aggregator"
PATH = "/api/v1/chart-data"
VARY = "Accept-Encoding, Authorization, Cookie"


def utc_today() -> date:
    """Return the date it is in UTC."""
    return datetime.now(UTC).date()


class ChartEndpoint:
    """Answers chart requests: from kept answers, from chunks, or with 304 where the client has the answer already."""

    def __init__(
        self, charts: Charts, kept: Kept, metrics: CacheMetrics, timeout: float, today: Callable[[], date]
    ) -> None:
        self._charts, self._kept, self._timeout, self._today = charts, kept, timeout, today
        self._hits = metrics.hits.labels("answer", "memory")
        self._parse = lru_cache(maxsize=1024)(parse)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        response = await self.respond(Request(scope))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """Return the answer to one request."""
        begun = time.perf_counter()
        deadline = deadlines.deadline(time.monotonic(), self._timeout, request.headers.get(deadlines.HEADER))
        query = self._parse(request.scope["query_string"], self._today())
        user = credentials(request.headers.raw)
        scope = await self._charts.scope(query, user)
        answer = self._kept.get(scope.owner, query)
        if answer is not None:
            self._hits.inc()
            status, steps = f"{CACHE}; hit; ttl={_ttl(answer.fresh_until)}", ""
        else:
            try:
                chart = await self._charts.chart(query, scope, user, deadline.at)
            except Refused as refused:
                return Response(refused.content, refused.status, {**refused.headers, "cache-control": "no-store"})
            answer = Answer(chart.body, chart.content, chart.fresh_until)
            if chart.facts.hit and not chart.facts.stale:
                self._kept.put(scope.owner, query, answer)
            status = cache_status(chart)
            steps = f"load;dur={chart.timings.load:.2f}, make;dur={chart.timings.make:.2f}, "
        return await self._send(request, query, answer, status, steps, begun)

    async def _send(
        self, request: Request, query: ChartQuery, answer: Answer, status: str, steps: str, begun: float
    ) -> Response:
        coding = codings.choose(request.headers.get("accept-encoding"), len(answer.body))
        headers = {
            "cache-control": f"private, max-age={max(0, _ttl(answer.fresh_until))}",
            "cache-status": status,
            "vary": VARY,
        }
        asked = request.headers.getlist("if-none-match")
        tag = answer.tag(coding)
        known = codings.matching_tag(asked, tag) if asked else None
        headers["etag"] = known or tag
        body = b"" if known else await answer.bytes_in(coding)
        headers["server-timing"] = f"{steps}total;dur={(time.perf_counter() - begun) * 1000:.2f}"
        if known:
            return Response(status_code=304, headers=headers)
        if coding != codings.IDENTITY:
            headers["content-encoding"] = coding
        return Response(body, headers=headers, media_type=MEDIA_TYPES[query.format])


def cache_status(chart: Chart) -> str:
    """Return the `Cache-Status` of an answer out of chunks (RFC 9211)."""
    loaded, ttl = chart.loaded, _ttl(chart.fresh_until)
    if loaded.error is not None:
        return f"{CACHE}; fwd=stale; ttl={ttl}; detail=backend-failed"
    if not loaded.made:
        return f"{CACHE}; hit; ttl={ttl}"
    forwarded = "partial" if loaded.hits else "miss"
    return f"{CACHE}; fwd={forwarded}; {'stored' if chart.facts.backend_calls else 'collapsed'}; ttl={ttl}"


def _ttl(fresh_until: float) -> int:
    return int(fresh_until - time.time())


class ChartDoor:
    """Middleware that takes chart requests straight to their endpoint.

    A warm answer costs less than FastAPI's way to it; errors are answered by whoever stands around this.
    """

    def __init__(self, app: ASGIApp, endpoint: ChartEndpoint) -> None:
        self._app, self._endpoint = app, endpoint
        self._route = Route(PATH, endpoint, methods=["GET"])

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}:
            scope["route"] = self._route
            await self._endpoint(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def make_router(endpoint: ChartEndpoint, store: Store, admin_token: SecretStr) -> APIRouter:
    """Return the routes of chart data; the purge is there only where an admin token is set."""
    router = APIRouter(prefix="/api/v1", tags=["charts"])
    router.add_api_route("/chart-data", endpoint.respond, methods=["GET"], **chart_docs.CHART_DATA)

    @router.delete("/cache/chart-data", **chart_docs.PURGE)
    async def purge(
        request: Request, symbol: str = Query(description="what to forget", pattern=SYMBOL_PATTERN, max_length=15)
    ) -> Response:
        require_admin(request.headers.get("authorization", ""), admin_token.get_secret_value())
        wanted = parse_symbol(symbol)
        everywhere = await store.purge(NAMESPACE, wanted)
        return JsonResponse({"symbol": wanted, "purged": True, "everywhere": everywhere})

    return router
