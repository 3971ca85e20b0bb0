"""The REST routes. Handlers that build large bodies are plain functions, so FastAPI runs them beside the event loop."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response

from bff_demo import documents, runs
from bff_demo.backend import Backend, BackendDep, CallerDep, owned_run
from bff_demo.bars import FIRST_YEAR, LAST_YEAR, Bars
from bff_demo.errors import ApiError, BadDate
from bff_demo.market import pick_stride
from bff_demo.submission import BadRequest, parse_day, parse_submission

__all__ = ["parts", "router"]

router = APIRouter()
parts = APIRouter()
"""The routes of a run's parts, which some versions of the backend do not have."""

# Bodies and keys are kept with the runs that they made, so both are bounded.
_BODY_LIMIT = 1 << 16
_KEY_LIMIT = 255
_MAX_LIMIT = 500
_NO_DATA = "No data for symbol/year range"
_FIRST, _LAST = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)

From = Annotated[str, Query(alias="from")]
To = Annotated[str, Query(alias="to")]
MaybeFrom = Annotated[str | None, Query(alias="from")]
MaybeTo = Annotated[str | None, Query(alias="to")]


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/backtests")
async def list_backtests(
    backend: BackendDep,
    caller: CallerDep,
    symbol: str | None = None,
    strategy_id: str | None = None,
    from_: MaybeFrom = None,
    to: MaybeTo = None,
    limit: int = 20,
    offset: int = 0,
    order: str = "-created_at",
) -> dict[str, Any]:
    """List the caller's runs created on the dates `from` to `to`, the youngest first unless `order=created_at`."""
    first, last = _bounds(from_, to, date.min, date.max)
    found = [
        run
        for run in backend.registry.all()
        if run.owner == caller
        and symbol in (None, run.inputs.symbol)
        and strategy_id in (None, run.inputs.strategy_id)
        and first <= run.created_at.date() <= last
    ]
    found.sort(key=lambda run: (run.created_at, run.run_id), reverse=order != "created_at")
    limit, offset = min(max(limit, 1), _MAX_LIMIT), max(offset, 0)
    now = backend.registry.now()
    items = [runs.item(run, now) for run in found[offset : offset + limit]]
    return {"items": items, "total": len(found), "limit": limit, "offset": offset}


@router.post("/backtests")
async def create_backtest(
    request: Request,
    response: Response,
    backend: BackendDep,
    caller: CallerDep,
    idempotency_key: Annotated[str | None, Header()] = None,
    x_idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, str]:
    """Queue a run, once per idempotency key and once per inputs."""
    key = idempotency_key or x_idempotency_key
    if key and len(key) > _KEY_LIMIT:
        raise ApiError(400, "BAD_REQUEST", f"idempotency key is longer than {_KEY_LIMIT} characters")
    try:
        inputs = parse_submission(await _read(request))
    except BadRequest as exc:
        raise ApiError(400, "BAD_REQUEST", str(exc)) from exc
    if not backend.registry.has_data(inputs.symbol, inputs.first, inputs.last):
        raise ApiError(404, "DATASET_NOT_FOUND", f"Dataset {inputs.dataset_id} not found")
    run, is_new = backend.registry.create(inputs, caller, key)
    response.status_code = 202 if is_new else 200
    return {"run_id": run.run_id, "status": "QUEUED" if is_new else "EXISTS"}


@router.get("/backtests/{run_id}")
async def read_backtest(run_id: str, backend: BackendDep, caller: CallerDep) -> dict[str, Any]:
    """Return a run without its parts."""
    return runs.detail(owned_run(backend, run_id, caller), backend.registry.now())


@parts.get("/backtests/{run_id}/metrics")
def read_metrics(run_id: str, backend: BackendDep, caller: CallerDep) -> dict[str, float]:
    """Return the figures that sum a run up."""
    run = owned_run(backend, run_id, caller)
    backend.registry.require(run, "metrics")
    return runs.metrics(run, backend.registry.compute(run))


@parts.get("/backtests/{run_id}/equity")
def read_equity(run_id: str, backend: BackendDep, caller: CallerDep) -> Response:
    """Return one point of equity per minute."""
    return _part(backend, run_id, caller, "equity")


@parts.get("/backtests/{run_id}/orders")
def read_orders(run_id: str, backend: BackendDep, caller: CallerDep) -> Response:
    """Return the orders of a run."""
    return _part(backend, run_id, caller, "orders")


@router.get("/bars/daily")
def read_daily(
    backend: BackendDep, _caller: CallerDep, symbol: str, from_: MaybeFrom = None, to: MaybeTo = None
) -> Response:
    """Return bars of whole sessions, stamped midnight UTC of the session date."""
    first, last = _bounds(from_, to, _FIRST, _LAST)
    days = backend.market.days_of(symbol)
    return _bars(symbol, None if days is None else days.window(first, last, rth_only=False))


@router.get("/bars/hour")
def read_hours(
    backend: BackendDep, _caller: CallerDep, symbol: str, from_: From, to: To, rth_only: bool = True
) -> Response:
    """Return hours that start at half past; the only bars that answer a bad date with 400."""
    try:
        bars = _minutes(backend, symbol, from_, to, rth_only=rth_only)
    except BadDate as exc:
        raise HTTPException(400, "Invalid date format, expected YYYY-MM-DD") from exc
    return _bars(symbol, None if bars is None else bars.hourly())


@router.get("/bars/minute")
def read_minutes(
    backend: BackendDep, _caller: CallerDep, symbol: str, from_: From, to: To, rth_only: bool = True
) -> Response:
    """Return minutes."""
    return _bars(symbol, _minutes(backend, symbol, from_, to, rth_only=rth_only))


@router.get("/bars/minute_decimated")
def read_decimated(
    backend: BackendDep,
    _caller: CallerDep,
    symbol: str,
    from_: From,
    to: To,
    target: int = 10_000,
    rth_only: bool = True,
) -> Response:
    """Return minutes merged by a stride that calendar minutes and `target` give."""
    first, last = _bounds(from_, to, _FIRST, _LAST)
    bars = _minutes(backend, symbol, from_, to, rth_only=rth_only)
    stride = pick_stride(first, last, max(target, 1))
    merged = None if bars is None else bars.strided(stride)
    return _bars(symbol, merged, {"stride_minutes": stride, "points": 0 if merged is None else len(merged)})


def _bounds(first: str | None, last: str | None, lowest: date, highest: date) -> tuple[date, date]:
    try:
        return parse_day(first) if first is not None else lowest, parse_day(last) if last is not None else highest
    except ValueError as exc:
        raise BadDate(str(exc)) from exc


def _minutes(backend: Backend, symbol: str, first: str, last: str, *, rth_only: bool) -> Bars | None:
    window = _bounds(first, last, _FIRST, _LAST)
    minutes = backend.market.minutes_of(symbol)
    return None if minutes is None else minutes.window(*window, rth_only=rth_only)


def _bars(symbol: str, bars: Bars | None, meta: dict[str, int] | None = None) -> Response:
    if bars is None or not len(bars):
        raise HTTPException(404, _NO_DATA)
    return Response(documents.bars_body(symbol, bars, meta), media_type="application/json")


def _part(backend: Backend, run_id: str, caller: str, part: runs.BodyPart) -> Response:
    run = owned_run(backend, run_id, caller)
    backend.registry.require(run, part)
    return Response(runs.part_body(run, backend.registry.compute(run), part), media_type="application/json")


async def _read(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_LIMIT:
            raise BadRequest("body is larger than 64 KiB")
    return body
