"""What OpenAPI says of the chart routes: parameters, answers and an example of each."""

from typing import Any

from bff_aggregator.charts.query import DEFAULT_TARGET, MAX_TARGET, MIN_TARGET, Format
from bff_aggregator.charts.timeframes import Timeframe
from bff_shared.backend_keys import MAX_SYMBOL

_SYMBOL = {"type": "string", "minLength": 1, "maxLength": MAX_SYMBOL}
_DATE = {"type": "string", "pattern": r"^(19[7-9]|20[0-9])[0-9]-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$"}
_TARGET = {"type": "integer", "minimum": MIN_TARGET, "maximum": MAX_TARGET, "default": DEFAULT_TARGET}


def _parameter(name: str, text: str, schema: dict[str, Any], example: Any, *, required: bool = False) -> dict[str, Any]:
    where = {"name": name, "in": "query", "required": required, "description": text}
    return {**where, "schema": schema, "example": example}


PARAMETERS = [
    _parameter("symbol", "the backend's name of the instrument, trimmed; case counts", _SYMBOL, "AAPL", required=True),
    _parameter("timeframe", "what a bar covers", {"type": "string", "enum": [*Timeframe]}, "1H", required=True),
    _parameter(
        "from_date",
        "first UTC date or date-time; `from` is understood too",
        _DATE,
        "2024-01-02",
        required=True,
    ),
    _parameter("to_date", "last UTC date, included; `to` is understood too", _DATE, "2024-12-31", required=True),
    _parameter("target_points", "most bars to answer; `target` is understood too", _TARGET, 1000),
    _parameter("rth_only", "regular trading hours only", {"type": "boolean", "default": True}, True),
    _parameter("format", "how bars are spelled", {"type": "string", "enum": [*Format], "default": "rows"}, "rows"),
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "required": False,
        "description": "seconds the answer may take; only shortens the service's own limit",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "example": 1.5,
    },
]

_METADATA = {
    "total_bars": 1,
    "source_bars": 390,
    "source_timeframe": "1M",
    "decimated": True,
    "decimation_stride": 390,
    "rejected_bars": 0,
    "cache_hit": False,
    "stale": False,
    "load_time_ms": 12.5,
    "backend_calls": 1,
    "data_source": "backend",
}
_DESCRIPTIONS = {
    "total_bars": "bars in this answer",
    "source_bars": "bars that this answer was made from",
    "source_timeframe": "what these cover: `1M`, `1H` or `1D`; a long chart of minutes is made from hours",
    "decimated": "whether bars were merged to fit `target_points`: they are not those of the timeframe",
    "decimation_stride": "minutes of trading per bar",
    "rejected_bars": "bars of the backend that were put right or left out",
    "cache_hit": "whether everything came from the cache",
    "stale": "whether some of it is past its freshness",
    "load_time_ms": "milliseconds until the bars were there",
    "backend_calls": "calls that this request made",
    "data_source": "`cache`, `backend` or `mixed`",
}
_PRICE_FORMAT = {
    "type": "object",
    "description": "how prices are to be shown, worked out from these bars",
    "required": ["digits", "min_move"],
    "properties": {
        "digits": {"type": "integer", "description": "digits behind the point"},
        "min_move": {"type": "number", "description": "smallest difference of two prices"},
    },
}
_WINDOW = {
    "type": "object",
    "description": "the UTC dates that these bars cover wholly: those asked for, widened to whole buckets",
    "required": ["from_date", "to_date"],
    "properties": {name: {"type": "string", "format": "date"} for name in ("from_date", "to_date")},
}
_FORMING = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
    "description": "the start of the last bar where its data were had before it was over, so that it may still change",
}
_SHOWN = {
    **_METADATA,
    "window": {"from_date": "2024-01-02", "to_date": "2024-01-02"},
    "forming": None,
    "price_format": {"digits": 2, "min_move": 0.01},
}
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_METADATA_SCHEMA = {
    "type": "object",
    "required": [*_METADATA],
    "properties": {
        **{
            name: {"type": _JSON_TYPES[type(value)], "description": _DESCRIPTIONS[name]}
            for name, value in _METADATA.items()
        },
        "preview": {"type": "boolean", "description": "true: a coarse chart, of hours; the exact one is on its way"},
        "window": _WINDOW,
        "forming": _FORMING,
        "price_format": _PRICE_FORMAT,
    },
}
_HEAD = {"symbol": "AAPL", "timeframe": "1H", "from_date": "2024-01-02", "to_date": "2024-01-02"}
_HEAD_SCHEMA = {name: {"type": "string"} for name in _HEAD}
_PRICE = {"type": "number"}
_COUNT = {"type": "integer"}
_QUANTITY = {
    "anyOf": [{"type": "number"}, {"type": "null"}],
    "description": "whole where all of the bars' are; null where the backend has none",
}
_ROW = {"timestamp": "2024-01-02T14:30:00Z", "open": 187.15, "high": 188.44, "low": 183.89, "close": 185.64}
_ROW_SCHEMA = {
    "type": "object",
    "required": ["timestamp", "open", "high", "low", "close", "volume"],
    "properties": {
        "timestamp": {"type": "string", "format": "date-time", "description": "start of the bar"},
        **dict.fromkeys(("open", "high", "low", "close"), _PRICE),
        "volume": _QUANTITY,
        "trades": {**_COUNT, "description": "days only"},
    },
}
_ROWS_SCHEMA = {
    "type": "object",
    "required": [*_HEAD, "bars", "metadata"],
    "properties": {**_HEAD_SCHEMA, "bars": {"type": "array", "items": _ROW_SCHEMA}, "metadata": _METADATA_SCHEMA},
}
COLUMNS_SCHEMA = {
    "type": "object",
    "required": ["s", *_HEAD, "t", "o", "h", "l", "c", "v", "metadata"],
    "properties": {
        "s": {"type": "string", "enum": ["ok", "no_data"], "description": "as in a UDF history answer"},
        **_HEAD_SCHEMA,
        "t": {"type": "array", "items": _COUNT, "description": "starts of the bars, UTC seconds"},
        **{key: {"type": "array", "items": _PRICE} for key in "ohlc"},
        "v": {"type": "array", "items": _QUANTITY},
        "n": {"type": "array", "items": _COUNT},
        "metadata": _METADATA_SCHEMA,
    },
}
_CANDLE = {"time": 1704205800, "open": 187.15, "high": 188.44, "low": 183.89, "close": 185.64}
_VOLUME = {"time": 1704205800, "value": 82488700}
_POINTS_SCHEMA = {
    "type": "object",
    "required": [*_HEAD, "candles", "volume", "metadata"],
    "properties": {
        **_HEAD_SCHEMA,
        "candles": {
            "type": "array",
            "description": "as Lightweight Charts' `setData` takes them; `time` in UTC seconds",
            "items": {
                "type": "object",
                "required": [*_CANDLE],
                "properties": {"time": _COUNT, **dict.fromkeys(("open", "high", "low", "close"), _PRICE)},
            },
        },
        "volume": {
            "type": "array",
            "description": "the same for a histogram, without the bars that have no volume",
            "items": {
                "type": "object",
                "required": [*_VOLUME],
                "properties": {"time": _COUNT, "value": _PRICE},
            },
        },
        "metadata": _METADATA_SCHEMA,
    },
}
_ROWS_EXAMPLE = {**_HEAD, "bars": [{**_ROW, "volume": 82488700}], "metadata": _SHOWN}
_COLUMNS_EXAMPLE = {
    "s": "ok",
    **_HEAD,
    "t": [1704205800],
    "o": [187.15],
    "h": [188.44],
    "l": [183.89],
    "c": [185.64],
    "v": [82488700],
    "metadata": _SHOWN,
}
_POINTS_EXAMPLE = {**_HEAD, "candles": [_CANDLE], "volume": [_VOLUME], "metadata": _SHOWN}


def _error(code: str, message: str, **details: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": {**details, "correlation_id": "4f1d…"}}}


ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object"},
            },
        }
    },
}


def _failure(text: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": ERROR_SCHEMA, "example": example}}}


_KNOWN = {"from_date": "2024-01-02", "to_date": "2025-12-31"}
_ERRORS: dict[str, dict[str, Any]] = {
    "404": _failure(
        "Unknown symbol, or a window before or after all of its bars; `known` is what there is, `did_you_mean` the "
        "symbol in capitals where the backend has that one",
        _error("DATASET_NOT_FOUND", "the backend has no bars in this range", symbol="AAPL", known=_KNOWN),
    ),
    "422": _failure(
        "Bad, missing or contradictory fields, each named",
        _error("VALIDATION", "invalid: to_date", fields={"to_date": "before from_date"}),
    ),
    "502": _failure("The backend failed", _error("BACKEND_UNAVAILABLE", "the backend cannot be reached")),
    "503": _failure("Too much to do, or the backend is being spared", _error("BUSY", "too many requests are waiting")),
    "504": _failure("The deadline passed", _error("BACKEND_TIMEOUT", "the backend did not answer within the deadline")),
}
_PASSED_ON = {
    status: {"description": f"{text}: the backend's own answer", "content": {"application/json": {}}}
    for status, text in (("401", "Not authenticated"), ("403", "Not allowed"), ("429", "Too many requests"))
}
_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "ETag": "strong tag of this format and coding",
        "Cache-Control": "`private` and the seconds for which the data is good",
        "Cache-Status": "how the cache came by the answer (RFC 9211)",
        "Server-Timing": "milliseconds that the steps took",
        "Vary": "what else the answer depends on",
    }.items()
}

CHART_DATA: dict[str, Any] = {
    "summary": "Bars of a symbol for a chart",
    "description": "Bars of a window, at most `target_points` of them: more are merged along trading sessions so that "
    "first open, highest high, lowest low, last close and summed volume stay exact.",
    "operation_id": "chart_data",
    "response_model": None,
    "openapi_extra": {
        "parameters": PARAMETERS,
        "responses": {
            "200": {
                "description": "Bars in ascending order",
                "headers": _HEADERS,
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "anyOf": [_ROWS_SCHEMA, COLUMNS_SCHEMA, _POINTS_SCHEMA]},
                        "examples": {
                            "rows": {"summary": "format=rows", "value": _ROWS_EXAMPLE},
                            "columns": {"summary": "format=columns", "value": _COLUMNS_EXAMPLE},
                            "points": {"summary": "format=points", "value": _POINTS_EXAMPLE},
                        },
                    },
                    "application/x-ndjson": {
                        "schema": {
                            "type": "string",
                            "description": "with this in `Accept`, where a long chart of minutes is not in the cache: "
                            "a line with a `preview` of hours, if that comes first, and a line with the chart itself, "
                            "or with the error that keeps it from being had; any other response is JSON as without it",
                        }
                    },
                    "application/vnd.apache.arrow.stream": {
                        "schema": {"type": "string", "format": "binary", "description": "format=arrow"}
                    },
                },
            },
            "304": {"description": "The client's stored answer is still good (`If-None-Match`)"},
            **_PASSED_ON,
            **_ERRORS,
        },
    },
}

PURGE: dict[str, Any] = {
    "summary": "Forget a symbol's bars",
    "description": "For every user and in every process. Needs the admin token; without one configured there is no "
    "such route. `everywhere` is false when the other processes could not be reached.",
    "operation_id": "purge_chart_data",
    "response_model": None,
    "openapi_extra": {
        "security": [{"adminToken": []}],
        "responses": {
            "200": {
                "description": "Forgotten",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["symbol", "purged", "everywhere"],
                            "properties": {
                                "symbol": {"type": "string"},
                                "purged": {"type": "boolean"},
                                "everywhere": {"type": "boolean"},
                            },
                        },
                        "example": {"symbol": "AAPL", "purged": True, "everywhere": True},
                    }
                },
            },
            "401": _failure("No or another token", _error("UNAUTHORIZED", "the admin token is required")),
            "404": _failure("Admin routes are off", _error("NOT_FOUND", "no such resource")),
            "422": _ERRORS["422"],
        },
    },
}
