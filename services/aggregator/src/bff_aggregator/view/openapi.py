"""What OpenAPI says of the view of a run: its parameters, its lines and an example of them."""

from typing import Any, Final

from bff_aggregator.charts import openapi as chart_openapi
from bff_aggregator.runs import openapi as run_openapi
from bff_aggregator.view.ndjson import DEFAULT_POINTS, DEFAULT_TIMEFRAME

NDJSON: Final = "application/x-ndjson"
_OPTIONAL: Final[dict[str, dict[str, Any]]] = {
    "timeframe": {"default": DEFAULT_TIMEFRAME},
    "from_date": {},
    "to_date": {},
    "target_points": {"default": DEFAULT_POINTS},
    "rth_only": {},
}
_SYMBOL: Final = "the run's symbol, where it is known: with both dates the chart need not wait for the run"
_WINDOW: Final = "; both dates or neither, which means the run's own window"
_OK: Final = {"type": "integer", "enum": [200]}
_FAILED: Final = {"type": "integer", "minimum": 400, "maximum": 599}
_TAG: Final = {"type": "string", "description": "tag that a GET of the part alone would have, for its `If-None-Match`"}


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    name, text = parameter["name"], parameter["description"]
    told = {**parameter, "required": False, "schema": {**parameter["schema"], **_OPTIONAL[name]}}
    return {**told, "description": text + _WINDOW} if name.endswith("_date") else told


def _symbol() -> dict[str, Any]:
    told = next(parameter for parameter in chart_openapi.PARAMETERS if parameter["name"] == "symbol")
    return {**told, "required": False, "description": _SYMBOL}


def _model(name: str) -> dict[str, Any]:
    """Refer to a model of the routes that answer with a part alone."""
    return {"$ref": f"#/components/schemas/{name}"}


def _line(*names: str, body: dict[str, Any], status: dict[str, Any] = _OK, **more: dict[str, Any]) -> dict[str, Any]:
    fields = {"name": {"type": "string", "enum": [*names]}, "status": status, "body": body}
    return {"type": "object", "required": [*fields], "properties": {**fields, **more}}


_LINE: Final = {
    "description": "one line",
    "anyOf": [
        _line("head", body=_model("RunStatus")),
        _line("chart_preview", body=chart_openapi.COLUMNS_SCHEMA),
        _line("chart", body=chart_openapi.COLUMNS_SCHEMA, etag=_TAG),
        _line("run", body=_model("CompleteRun"), etag=_TAG),
        _line(
            "chart", "run", body=chart_openapi.ERROR_SCHEMA, status={"type": "integer", "minimum": 400, "maximum": 599}
        ),
    ],
}
_EXAMPLE: Final = (
    '{"name":"head","status":200,"body":{"run_id":"05a0b0f6e429450f95d2598db225778b","status":"DONE",…}}\n'
    '{"name":"chart","status":200,"etag":"\\"4bd1…-9c0e…-zstd\\"","body":{"s":"ok","symbol":"TSLA",…}}\n'
    '{"name":"run","status":200,"etag":"\\"81f0…-2a77…-zstd\\"","body":{"run":{…},"metrics":{…},…}}\n'
)
_HEADERS: Final = {
    "Cache-Control": {"description": "`private, no-store`: the parts have tags", "schema": {"type": "string"}},
    "Vary": {"description": "what else the answer depends on", "schema": {"type": "string"}},
}
VIEW: Final[dict[str, Any]] = {
    "summary": "Everything that a run's page shows, each part as soon as it is there",
    "description": "JSON objects, one a line: `head` first, then `chart` and `run` in the order in which they are "
    "ready; before a long `chart` of minutes a coarse one from hours, `chart_preview`. A body that ends before is "
    "broken off. What keeps the head from being had is the whole answer.",
    "operation_id": "run_view",
    "status_code": 200,
    "response_model": None,
    "response_description": "The lines",
    "responses": {
        **{status: told for status, told in run_openapi.answers(one_run=True).items() if status != 304},
        200: {"headers": _HEADERS, "content": {NDJSON: {"schema": _LINE, "example": _EXAMPLE}}},
    },
    "openapi_extra": {
        "parameters": [_symbol(), *(_parameter(p) for p in chart_openapi.PARAMETERS if p["name"] in _OPTIONAL)]
    },
}
