"""Whatever a backend puts into its JSON, no route answers 500, and what is not odd is there."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.foreign import GOOD, RUN, ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
WINDOW = "symbol=AAPL&from_date=2024-01-01&to_date=2024-01-05"
ROUTES = (
    "/api/v1/runs",
    "/api/v1/runs/r/status",
    "/api/v1/runs/r/complete",
    "/api/v1/runs/r/complete?format=columns&equity_points=0",
    "/api/v1/runs/r/view?from_date=2024-01-01&to_date=2024-01-05",
    f"/api/v1/chart-data?{WINDOW}&timeframe=1M",
    f"/api/v1/chart-data?{WINDOW}&timeframe=1D&format=columns",
)
ODD: dict[str, bytes] = {
    "a lone surrogate": b'"\\ud83d"',
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "an integer beyond 64 bits": b"1180591620717411303424",
    "a negative integer beyond 64 bits beside NaN": b"[NaN,-1180591620717411303424]",
    "an integer of 400 digits": b"1" * 400,
    "an integer of 5,000 digits": b"1" * 5_000,
    "1e400": b"1e400",
    "1e308": b"1e308",
    "300 nested lists": b"[" * 300 + b"]" * 300,
    "180 nested lists": b"[" * 180 + b"]" * 180,
    "2,000 nested objects": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "a list": b"[1,2]",
    "an object": b'{"a":{"b":null}}',
    "an empty text": b'""',
    "line ends of Unicode": b'{"\xc2\x85\xe2\x80\xa8":"\xe2\x80\xa9"}',
    "a time before year 1": b'"0001-01-01T00:00:00+14:00"',
    "a time after year 9999": b'"9999-12-31T23:59:59-14:00"',
    "year 1": b'"0001-01-01T00:00:00Z"',
    "year 9999": b'"9999-12-31T23:59:59.999999Z"',
    "null": b"null",
    "true": b"true",
    "a negative number": b"-5",
}
RUN_FIELDS = ("run_id", "status", "symbol", "created_at", "duration_ms", "params", "artifacts", "progress", "extra")
PLACES: dict[str, list[tuple[bytes, bytes]]] = {
    "/backtests/r": [(RUN[:-1] + b',"%b":' % name.encode(), b"}") for name in RUN_FIELDS],
    "/backtests": [
        (b'{"items":[{"run_id":"a","status":"DONE"},' + RUN[:-1] + b',"%b":' % name.encode(), b'}],"total":2}')
        for name in RUN_FIELDS
    ]
    + [
        (b'{"items":[{"run_id":"a","status":"DONE"},', b'],"total":2}'),
        (GOOD["/backtests"][:-1] + b',"metadata":', b"}"),
    ],
    "/backtests/r/metrics": [(b'{"total_return":0.5,"sharpe_ratio":', b"}"), (b'{"total_return":0.5,"odd":', b"}")],
    "/backtests/r/orders": [
        (GOOD["/backtests/r/orders"][:-3] + b',"%b":' % name, b"}]}")
        for name in (b"ts", b"symbol", b"side", b"quantity", b"price", b"commission", b"status", b"odd")
    ]
    + [(b'{"orders":[', b"]}")],
    "/backtests/r/equity": [
        (b'{"equity":[{"ts":"2024-01-02T14:30:00Z","value":1.5},{"ts":', b',"value":2.5}]}'),
        (b'{"equity":[{"ts":"2024-01-02T14:30:00Z","value":1.5},{"ts":"2024-01-03T14:30:00Z","value":', b"}]}"),
        (b'{"equity":[{"ts":"2024-01-02T14:30:00Z","value":1.5,"drawdown":0,"odd":', b"}]}"),
        (b'{"equity":[', b"]}"),
    ],
    "/bars/minute": [
        (GOOD["/bars/minute"][:-3] + b',"%b":' % name, b"}]}") for name in (b"t", b"o", b"h", b"v", b"n", b"odd")
    ]
    + [(b'{"bars":[', b"]}")],
    "/bars/daily": [
        (GOOD["/bars/daily"][:-3] + b',"%b":' % name, b"}]}") for name in (b"t", b"o", b"h", b"v", b"n", b"odd")
    ]
    + [(b'{"bars":[', b"]}")],
}


QUICK = ("a lone surrogate", "an integer of 400 digits", "1e308", "300 nested lists")


@pytest.mark.parametrize("odd", [pytest.param(odd, marks=() if odd in QUICK else pytest.mark.slow) for odd in ODD])
async def test_no_odd_value_anywhere_makes_a_500(
    start_app: StartApp, start_aggregator: StartAggregator, odd: str
) -> None:
    backend = ForeignBackend()
    client = await start_aggregator(backend_url=await start_app(backend))
    for place, spellings in PLACES.items():
        for number, (before, after) in enumerate(spellings):
            backend.bodies = {**GOOD, place: before + ODD[odd] + after}
            user = {"authorization": f"Bearer {place}-{number}"}  # nothing is shared with the value before
            answers = await asyncio.gather(*(client.get(route, headers=user) for route in ROUTES))
            for route, answer in zip(ROUTES, answers, strict=True):
                assert answer.status_code != 500, (place, number, route, answer.text)
                _assert_readable(answer)
                if place.count("/") > 2 or place.startswith("/bars"):
                    _assert_the_rest_is_there(route, answer, place)


def _assert_readable(answer: httpx.Response) -> None:
    for line in _lines(answer):
        orjson.loads(line)


def _lines(answer: httpx.Response) -> list[bytes]:
    """Return the lines of NDJSON: only a line feed ends one, not what else Unicode calls a line's end."""
    return answer.content.rstrip(b"\n").split(b"\n")


def _assert_the_rest_is_there(route: str, answer: httpx.Response, place: str) -> None:
    odd = place.rpartition("/")[2]
    if "/complete" in route:
        body = answer.json()
        states = {name: part["state"] for name, part in body["metadata"]["parts"].items()}
        assert {name for name, state in states.items() if state != "ok"} <= {odd}, states
        assert body["run"]["run_id"] == "r"
    elif "/view" in route:
        lines = {line["name"]: line["status"] for line in map(json.loads, _lines(answer))}
        assert 500 not in lines.values()
        assert (lines["head"], lines["run"]) == (200, 200)
        assert lines["chart"] == 200 or place.startswith("/bars")
    elif "/runs" in route or not place.startswith("/bars"):
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "odd", ["a lone surrogate", "an integer of 400 digits", "180 nested lists", "300 nested lists", "a list", "null"]
)
async def test_an_odd_row_of_the_list_costs_no_other_row(
    start_app: StartApp, start_aggregator: StartAggregator, odd: str
) -> None:
    row, good = ODD[odd], b'{"run_id":"a","status":"QUEUED"}'
    backend = ForeignBackend({"/backtests": b'{"items":[' + row + b"," + good + b'],"total":2}'})
    client = await start_aggregator(backend_url=await start_app(backend))
    answer = await client.get("/api/v1/runs")
    assert [item["run_id"] for item in answer.json()["items"]] == ["a"]
    assert answer.json()["metadata"]["rejected"] == 1


@pytest.mark.parametrize("name", ["..", ".", "", "a\nb", "x" * 257])
async def test_nothing_is_asked_about_a_row_whose_id_can_name_no_run(
    start_app: StartApp, start_aggregator: StartAggregator, name: str
) -> None:
    rows = [{"run_id": name, "status": "DONE"}, {"run_id": "r", "status": "DONE"}]
    backend = ForeignBackend({**GOOD, "/backtests": json.dumps({"items": rows, "total": 2}).encode()})
    client = await start_aggregator(backend_url=await start_app(backend))
    async with asyncio.timeout(20):
        while (answer := (await client.get("/api/v1/runs")).json())["metadata"]["metrics_pending"]:
            await asyncio.sleep(0.02)
    assert [item["metrics_state"] for item in answer["items"]] == ["skipped", "ok"]
    assert set(backend.calls) == {"/backtests", "/backtests/r/metrics"}


async def test_a_list_without_a_single_run_is_malformed_and_not_empty(
    start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    backend = ForeignBackend({"/backtests": b'{"items":[1,{"id":"x"}],"total":2}'})
    client = await start_aggregator(backend_url=await start_app(backend))
    answer = await client.get("/api/v1/runs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")


async def test_a_refusal_with_odd_words_and_headers_is_passed_on(
    start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    deep = b'{"error":{"code":"FORBIDDEN","message":' + ODD["300 nested lists"] + b"}}"
    backend = ForeignBackend()
    paths = ("/backtests/r", "/bars/minute", "/bars/daily", "/bars/hour")
    for path in paths:
        backend.bodies[path] = deep
        backend.statuses[path] = 403
        backend.headers[path] = [(b"www-authenticate", "Bearer realm=\u2603".encode())]
    client = await start_aggregator(backend_url=await start_app(backend))
    for route in ROUTES[1:]:
        assert (await client.get(route)).status_code == 403, route
    del backend.statuses["/backtests/r"]
    backend.bodies["/backtests/r"] = RUN
    view = await client.get(ROUTES[4])
    assert [json.loads(line)["status"] for line in _lines(view) if b'"chart"' in line[:20]] == [403]


@pytest.mark.parametrize("part", ["metrics", "orders", "equity"])
async def test_a_defect_in_encoding_a_part_fails_that_part_only(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    from bff_aggregator.runs import downsample, encode, performance

    def breaks(*_: Any, **__: Any) -> Any:
        raise OverflowError("nobody thought of that")

    owner, name = {
        "metrics": (performance, "complete"),
        "orders": (encode, "_named"),
        "equity": (downsample, "downsample"),
    }[part]
    monkeypatch.setattr(owner, name, breaks)
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    body = (await client.get("/api/v1/runs/r/complete")).json()
    assert {name: shown["state"] for name, shown in body["metadata"]["parts"].items()} == {
        **dict.fromkeys(("run", "metrics", "equity", "orders"), "ok"),
        part: "failed",
    }
    assert body[part] is None
    assert body["metadata"]["parts"][part]["error"]["code"] == "INTERNAL"
    view = await client.get("/api/v1/runs/r/view?from_date=2024-01-01&to_date=2024-01-05")
    assert [json.loads(line)["status"] for line in _lines(view)] == [200, 200, 200]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=6)
    | st.datetimes().map(lambda at: at.isoformat()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_no_json_of_any_shape_makes_a_500(data: st.DataObject) -> None:
    """Values that Python's json writes, in the place of one known value of one body."""
    place = data.draw(st.sampled_from(sorted(set(GOOD) - {"/healthz"})))
    document = json.loads(GOOD[place])
    _replace(document, data)
    asyncio.run(_ask({**GOOD, place: json.dumps(document).encode()}))


def _replace(document: Any, data: st.DataObject) -> None:
    """Put a drawn value somewhere into a document."""
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = data.draw(st.sampled_from(keys))
    if isinstance(document[key], (dict, list)) and document[key] and data.draw(st.booleans()):
        _replace(document[key], data)
    else:
        document[key] = data.draw(values)


async def _ask(bodies: dict[str, bytes]) -> None:
    from bff_aggregator.app import create_app
    from bff_aggregator.settings import AggregatorSettings
    from tests.support.serving import listening

    async with listening(ForeignBackend(bodies), force=True, lifespan="off") as port:
        app = create_app(AggregatorSettings(backend_url=f"http://127.0.0.1:{port}", retries=0))
        async with (
            listening(app, force=True, lifespan="auto") as own,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{own}", timeout=30) as client,
        ):
            answers = await asyncio.gather(*(client.get(route) for route in ROUTES))
    for route, answer in zip(ROUTES, answers, strict=True):
        assert answer.status_code != 500, (route, answer.text)
        assert '"status":500' not in answer.text
        _assert_readable(answer)
