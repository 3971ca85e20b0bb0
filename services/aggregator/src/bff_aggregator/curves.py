"""The text of an equity curve into columns. Pure."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bff_aggregator.equity import Curve, make_curve
from bff_aggregator.vocabulary import POINT_TIMES, POINT_VALUES, UnexpectedShape, instant

MICROSECONDS = 1_000_000
NOWHEN = np.iinfo(np.int64).min


def parse_curve(text: bytes) -> tuple[Curve, dict[str, Any]]:
    """Return the curve of `{"equity": [points]}` (or of the list alone), and what else the answer says.

    A point has a time and a value under any of their names, and perhaps a drawdown; its other fields are kept.
    Raises UnexpectedShape.
    """
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnexpectedShape("the equity is not JSON") from error
    rows = answer.get("equity") if isinstance(answer, dict) else answer
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnexpectedShape("the equity is a list of points")
    rest = {name: value for name, value in answer.items() if name != "equity"} if isinstance(answer, dict) else {}
    return _from_rows(rows), rest


def _from_rows(rows: list[dict[str, Any]]) -> Curve:
    if not rows:
        return make_curve(np.empty(0, np.int64), np.empty(0), None, None)
    when, what = _name(rows[0], POINT_TIMES), _name(rows[0], POINT_VALUES)
    at = parse_times([row.get(when) for row in rows])
    value = _numbers([row.get(what) for row in rows])
    value[at == NOWHEN] = np.nan
    drawdown = _numbers([row.get("drawdown") for row in rows]) if "drawdown" in rows[0] else None
    known = {when, what, "drawdown"}
    extra = None
    if any(row.keys() - known for row in rows):
        extra = [{name: value for name, value in row.items() if name not in known} for row in rows]
    return make_curve(at, value, drawdown, extra)


def _name(row: dict[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise UnexpectedShape(f"a point of the equity has none of {', '.join(names)}")
    return name


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([v if isinstance(v, (int, float)) else np.nan for v in values], dtype=np.float64)


def parse_times(texts: list[Any]) -> NDArray[np.int64]:
    """Return ISO 8601 times as microseconds since the epoch, `NOWHEN` for what is none."""
    seconds = [instant(text) for text in texts]
    return np.array([NOWHEN if s is None else round(s * MICROSECONDS) for s in seconds], dtype=np.int64)


def iso_times(at: NDArray[np.int64]) -> list[str]:
    """Return times as `2025-01-02T14:31:00Z`, with a fraction where there is one."""
    if not np.any(at % MICROSECONDS):
        return list(np.datetime_as_string((at // MICROSECONDS).astype("M8[s]"), unit="s", timezone="UTC").tolist())
    return [datetime.fromtimestamp(t / MICROSECONDS, UTC).isoformat().replace("+00:00", "Z") for t in at.tolist()]
