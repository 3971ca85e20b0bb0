"""What a posted run must look like. Pure: JSON bytes in, inputs of a run out."""

import re
from datetime import date
from typing import Any

import orjson

from bff_demo.catalog import Inputs

__all__ = ["BadRequest", "parse_day", "parse_submission"]

_DATASET = re.compile(r"([!-~]{1,32})-(\d{4})-1m")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LONGEST_AVERAGE = 10_000


class BadRequest(ValueError):
    """The body cannot be a run; the message says why."""


def parse_day(text: str) -> date:
    """Read `YYYY-MM-DD`. Raises ValueError."""
    if not _DAY.fullmatch(text):
        raise ValueError("not YYYY-MM-DD")
    return date.fromisoformat(text)


def parse_submission(body: bytes) -> Inputs:
    """Read the body of `POST /backtests`. Raises BadRequest."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadRequest("body is not valid JSON") from exc
    if not isinstance(fields, dict):
        raise BadRequest("body is not an object")
    symbol, year = _dataset(fields)
    first, last = _day(fields, "from", date(year, 1, 1)), _day(fields, "to", date(year, 12, 31))
    if first > last:
        raise BadRequest("from is after to")
    return Inputs(
        symbol,
        first,
        last,
        _strategy(fields),
        _params(fields),
        _whole(fields, "seed", 42, 0, 2**53),
        _speed(fields),
        _object(fields, "slippage_fees", {}),
    )


def _dataset(fields: dict[str, Any]) -> tuple[str, int]:
    if "dataset_id" in fields:
        match = _DATASET.fullmatch(fields["dataset_id"]) if isinstance(fields["dataset_id"], str) else None
        if match is None:
            raise BadRequest("dataset_id is not like AAPL-2024-1m")
        return match[1], max(1, int(match[2]))
    if "symbol" not in fields or "year" not in fields:
        raise BadRequest("dataset_id or symbol and year required")
    if not isinstance(fields["symbol"], str) or not fields["symbol"]:
        raise BadRequest("symbol is not a text")
    return fields["symbol"], _whole(fields, "year", 0, 1, 9999)


def _strategy(fields: dict[str, Any]) -> str:
    strategy = fields.get("strategy_id")
    if not isinstance(strategy, str) or not 0 < len(strategy) <= 64:
        raise BadRequest("strategy_id required, at most 64 characters")
    return strategy


def _params(fields: dict[str, Any]) -> dict[str, Any]:
    if "params" not in fields:
        raise BadRequest("params required")
    params = _object(fields, "params", {})
    fast = _whole(params, "fast", 20, 1, _LONGEST_AVERAGE)
    slow = _whole(params, "slow", 50, 1, _LONGEST_AVERAGE)
    _whole(params, "qty", 1, 1, 1_000_000)
    if fast >= slow:
        raise BadRequest("params.fast is not below params.slow")
    return params


def _speed(fields: dict[str, Any]) -> float:
    speed = fields.get("speed", 60)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed <= 1e6:
        raise BadRequest("speed is not a positive number")
    return speed


def _object(fields: dict[str, Any], name: str, default: dict[str, Any]) -> dict[str, Any]:
    value = fields.get(name, default)
    if not isinstance(value, dict):
        raise BadRequest(f"{name} is not an object")
    return value


def _whole(fields: dict[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise BadRequest(f"{name} is not a whole number from {lowest} to {highest}")
    return value


def _day(fields: dict[str, Any], name: str, default: date) -> date:
    value = fields.get(name)
    if value is None:
        return default
    try:
        return parse_day(value)
    except (TypeError, ValueError) as exc:
        raise BadRequest(f"{name} is not a date YYYY-MM-DD") from exc
