"""The routes of chart data."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from bff_aggregator import deadlines, query
from bff_aggregator.bodies import MEDIA_TYPES
from bff_aggregator.charts import Charts
from bff_aggregator.sources import Refused
from bff_shared.headers import credentials


def utc_today() -> date:
    """Return the date it is in UTC."""
    return datetime.now(UTC).date()


def make_router(charts: Charts, timeout: float, today: Callable[[], date] = utc_today) -> APIRouter:
    """Return the routes; a chart may take `timeout` seconds."""
    router = APIRouter(prefix="/api/v1", tags=["charts"])

    @router.get("/chart-data", summary="Bars of a symbol for a chart")
    async def chart_data(request: Request) -> Response:
        limit = deadlines.deadline(time.monotonic(), timeout, request.headers.get(deadlines.HEADER))
        wanted = query.parse(request.scope["query_string"], today())
        try:
            body = await charts.answer(wanted, credentials(request.headers.raw), limit)
        except Refused as refused:
            return Response(refused.content, refused.status, {**refused.headers, "cache-control": "no-store"})
        return Response(body, media_type=MEDIA_TYPES[wanted.format])

    return router
