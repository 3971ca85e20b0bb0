"""The routes for runs: a complete run, its status, the list. I/O."""

import time
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema

from bff_aggregator.backend.part import PARTS, State
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.backend.schema import FINISHED, ITEM_FIELDS, is_number
from bff_aggregator.cache.access import Access
from bff_aggregator.cache.store import Store
from bff_aggregator.http import content_coding
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.http.dates import RULE, utc_date
from bff_aggregator.http.deadline import MAX_TIMEOUT_SECONDS, TIMEOUT_HEADER, request_deadline
from bff_aggregator.http.head_routes import answer_head
from bff_aggregator.runs import openapi
from bff_aggregator.runs.encode import Shape
from bff_aggregator.runs.list_page import page_body
from bff_aggregator.runs.list_service import NAMESPACE as LISTS
from bff_aggregator.runs.list_service import RunListService
from bff_aggregator.runs.openapi import CompleteRun, Purged, RunPage, RunStatus
from bff_aggregator.runs.response import Preferences, RunResponses
from bff_aggregator.runs.revision import RunBundle
from bff_aggregator.runs.run_cache import NAMESPACE
from bff_aggregator.runs.service import RunService
from bff_aggregator.settings import AggregatorSettings
from bff_shared.access.credentials import Reader
from bff_shared.admin_access import require_admin
from bff_shared.backend_keys import MAX_RUN_ID, MAX_SYMBOL, RUN_ID_RULE, is_key, is_run_id
from bff_shared.errors import ArtifactMissing, BackendTimeout, BackendUnavailable, InvalidRequest
from bff_shared.http.headers import credentials
from bff_shared.http.responses import JSON, JsonResponse

REQUIRE = r"^((run|metrics|equity|orders)(,(run|metrics|equity|orders))*)?$"
ERRORS, LIST_ERRORS, PURGE_ERRORS = (openapi.answers(one_run=one) for one in (True, False, True))
DATE: dict[str, Any] = {"format": "date"}
MOST, MOST_LISTED = 10_000_000, 500
OLDEST_FIRST, NEWEST_FIRST = "created_at", "-created_at"
FRESH = {"cache-control": "private, no-cache", "vary": "Authorization, Cookie"}
PAGE = {**FRESH, "vary": "Authorization, Cookie, Accept-Encoding"}


def _run_id(text: str) -> str:
    if not is_run_id(text):
        raise ValueError(f"no id of a run: {RUN_ID_RULE}")
    return text


def _key(text: str) -> str:
    if text and not is_key(text, len(text)):
        raise ValueError("expected printable characters")
    return text


Day = str | SkipJsonSchema[None]
AnyRunId = Annotated[
    str,
    AfterValidator(_run_id),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_RUN_ID,
            "description": RUN_ID_RULE,
            "examples": ["05a0b0f6e429450f95d2598db225778b"],
        }
    ),
]
RunId = Annotated[AnyRunId, Path()]
Timeout = Annotated[
    str | None,
    Header(alias=TIMEOUT_HEADER),
    WithJsonSchema(
        {
            "type": "number",
            "description": "seconds the answer may take; only shortens the service's own limit",
            "examples": [1.5],
            "exclusiveMinimum": 0,
            "minimum": 0.1,
            "maximum": MAX_TIMEOUT_SECONDS,
        }
    ),
]


def make_router(
    runs: RunService,
    replies: RunResponses,
    run_list: RunListService,
    store: Store,
    access: Access,
    cpu: CpuLimiter,
    settings: AggregatorSettings,
) -> APIRouter:
    """Return the routes; an answer may take `run_timeout` seconds.

    The models and the class of answers are for OpenAPI: every route returns its bytes itself.
    """
    router = APIRouter(prefix="/api/v1", tags=["runs"], default_response_class=JSONResponse)

    def identify(request: Request) -> Reader:
        return access.runs(credentials(request.headers.raw))

    @router.get(
        "/runs/{run_id}/complete",
        summary="A run with its metrics, equity and orders",
        response_model=CompleteRun,
        responses=ERRORS,
    )
    async def complete(
        request: Request,
        run_id: RunId,
        *,
        include_metrics: bool = True,
        include_equity: bool = True,
        include_orders: bool = True,
        equity_points: Annotated[int, Query(ge=0, le=MOST, description="most points of equity; 0: all")] = 2000,
        orders_limit: Annotated[int, Query(ge=0, le=MOST, description="most orders")] = MOST,
        orders_offset: Annotated[int, Query(ge=0, le=MOST, description="orders to leave out before")] = 0,
        require: Annotated[str, Query(pattern=REQUIRE, description="parts without which the answer is an error")] = "",
        format: Annotated[Literal["rows", "columns"], Query()] = "rows",  # noqa: A002  the parameter's name
        x_request_timeout: Timeout = None,
    ) -> Response:
        begun = time.monotonic()
        deadline = request_deadline(begun, settings.run_timeout, x_request_timeout)
        required = set(require.split(","))
        included = dict(zip(PARTS, (include_metrics, include_equity, include_orders), strict=True))
        wanted = [name for name in PARTS if included[name] or name in required]
        try:
            user = identify(request)
            bundle = await runs.load(user, run_id, wanted, deadline)
        except BackendRefusal as refused:
            return refusal_response(refused)
        require_parts(bundle, required)
        shape = Shape(equity_points, orders_limit, orders_offset, format == "columns")
        preferences = Preferences(request.headers.get("accept-encoding"), request.headers.getlist("if-none-match"))
        return await replies.answer(user, bundle, shape, preferences, begun)

    @router.get("/runs/{run_id}/status", summary="Where a run is", response_model=RunStatus, responses=ERRORS)
    async def status(request: Request, run_id: RunId, x_request_timeout: Timeout = None) -> Response:
        deadline = request_deadline(time.monotonic(), settings.run_timeout, x_request_timeout)
        try:
            bundle = await runs.load(identify(request), run_id, (), deadline)
        except BackendRefusal as refused:
            return refusal_response(refused)
        return JsonResponse(status_body(bundle), headers=FRESH)

    @router.get(
        "/runs",
        summary="The list of runs",
        response_model=RunPage,
        responses=LIST_ERRORS,
    )
    async def list_runs(
        request: Request,
        symbol: Annotated[str, Query(max_length=MAX_SYMBOL), AfterValidator(_key)] = "",
        strategy_id: Annotated[str, Query(max_length=128), AfterValidator(_key)] = "",
        from_: Annotated[Day, Query(alias="from", json_schema_extra=DATE)] = None,
        to: Annotated[Day, Query(json_schema_extra=DATE)] = None,
        limit: Annotated[int, Query(description="runs of a page; held to 1 to 500")] = 20,
        offset: Annotated[int, Query(description="runs to leave out before; held to 0 and more")] = 0,
        order: Annotated[str, Query(description="`created_at`; whatever else is `-created_at`")] = NEWEST_FIRST,
        x_request_timeout: Timeout = None,
    ) -> Response:
        begun = time.monotonic()
        deadline = request_deadline(begun, settings.run_timeout, x_request_timeout)
        given = {"symbol": symbol, "strategy_id": strategy_id, "from": day("from", from_), "to": day("to", to)}
        fields = {name: value for name, value in given.items() if value}
        limit, offset = min(max(limit, 1), MOST_LISTED), min(max(offset, 0), MOST)
        order = order if order == OLDEST_FIRST else NEWEST_FIRST
        query = urlencode({**fields, "limit": limit, "offset": offset, "order": order})
        try:
            page = await run_list.load(access.lists(credentials(request.headers.raw)), query, deadline)
        except BackendRefusal as refused:
            return refusal_response(refused)
        body = page_body(page, (time.monotonic() - begun) * 1000)
        coding = content_coding.choose(request.headers.get("accept-encoding"), len(body))
        coded = {} if coding == content_coding.IDENTITY else {"content-encoding": coding}
        packed = await cpu.run(len(body), content_coding.compress, body, coding)
        return Response(packed, 200, {**PAGE, **coded}, JSON)

    @router.delete("/cache/runs", summary="Forget a run for every user", response_model=Purged, responses=PURGE_ERRORS)
    async def purge(request: Request, run_id: Annotated[AnyRunId, Query()]) -> Response:
        require_admin(request)
        everywhere = await store.purge(NAMESPACE, run_id)
        everywhere &= await store.purge(LISTS, "")
        return JsonResponse({"run_id": run_id, "purged": True, "everywhere": everywhere})

    answer_head(router)
    return router


def day(name: str, text: str | None) -> str:
    """Return the UTC date of a date, a date-time or nothing. Raises InvalidRequest where there is no such day."""
    try:
        return utc_date(text).isoformat() if text else ""
    except ValueError as error:
        raise InvalidRequest(f"invalid: {name}", {name: RULE}) from error


def refusal_response(refused: BackendRefusal) -> Response:
    """Return the backend's own refusal unchanged."""
    return Response(refused.content, refused.status, {**refused.headers, "cache-control": "no-store"})


def require_parts(bundle: RunBundle, required: set[str]) -> None:
    """Raise what the first required part that did not come amounts to."""
    for name, part in bundle.parts.items():
        if name not in required or part.usable:
            continue
        details = {"part": name, "error": part.error}
        if part.state is State.MISSING:
            raise ArtifactMissing(f"the run has no {name}", details)
        if part.state is State.TIMEOUT:
            raise BackendTimeout(f"the run's {name} did not come in time", details)
        raise BackendUnavailable(f"the run's {name} is not available", details)


STATUS_FIELDS = (*ITEM_FIELDS, "started_at", "completed_at", "error_message")


def status_body(bundle: RunBundle) -> dict[str, Any]:
    """Return a run's status, window, and progress (0 to 1, null when the backend does not say)."""
    run = bundle.snapshot.run
    told = run.get("extra", {}).get("progress")
    progress = 1.0 if run["status"] == "DONE" else told if is_number(told) else None
    return {
        **{name: run.get(name) for name in STATUS_FIELDS},
        "finished": run["status"] in FINISHED,
        "progress": progress,
        "revision": bundle.snapshot.revision,
        "stale": bundle.stale,
    }
