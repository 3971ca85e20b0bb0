"""Bars as data vendors write them are charted in every format, or the error says which field is not understood."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest

from tests.support.foreign import ForeignBackend
from tests.support.redis_server import RedisServer

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
WINDOW = {"symbol": "X", "timeframe": "1M", "from": "2024-01-02", "to": "2024-01-02"}
OPEN = 1_704_205_800


def minute(number: int, **more: Any) -> dict[str, Any]:
    stamp = f"2024-01-02T{14 + (30 + number) // 60:02}:{(30 + number) % 60:02}:00Z"
    return {"t": stamp, "o": 1.5, "h": 2.5, "l": -1.0, "c": 2.0, **more}


def backend(*bars: dict[str, Any]) -> ForeignBackend:
    foreign = ForeignBackend()
    foreign.bodies |= dict.fromkeys(("/bars/minute", "/bars/daily"), orjson.dumps({"symbol": "X", "bars": bars}))
    return foreign


@pytest.mark.parametrize("volume", [0.3, None, 1e300])
async def test_any_volume_is_charted_in_every_format(
    volume: float | None, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    bars = [minute(number, v=volume) for number in range(390)]
    client = await start_aggregator(backend_url=await start_app(backend(*bars)))
    for form, read in FORMATS.items():
        for _ in ("cold", "warm"):
            answer = await client.get("/api/v1/chart-data", params={**WINDOW, "format": form})
            assert answer.status_code == 200, answer.text
            assert read(answer) == [volume] * 390
    thin = (await client.get("/api/v1/chart-data", params={**WINDOW, "target": 130})).json()
    expected = None if volume is None else pytest.approx(3 * volume)
    assert [bar["volume"] for bar in thin["bars"]] == [expected] * 130
    assert thin["metadata"]["rejected_bars"] == 0


@pytest.mark.parametrize(("volume", "form"), [(7, 1), (0.3, 2)])
async def test_a_version_that_knows_whole_volumes_only_takes_chunks_of_others_for_none(
    volume: float, form: int, redis: RedisServer, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    client = await start_aggregator(backend_url=await start_app(backend(minute(0, v=volume))), redis_url=redis.url)
    assert (await client.get("/api/v1/chart-data", params=WINDOW)).status_code == 200
    with redis.client() as look:
        async with asyncio.timeout(30):
            while not (kept := [key for key in look.keys("*:minute-*") if b"lock" not in key]):
                await asyncio.sleep(0.005)
        assert {look.get(key)[:4] for key in kept} == {b"BFC" + bytes((form,))}


def arrow_volumes(answer: httpx.Response) -> list[float | None]:
    found: list[float | None] = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().column("volume").to_pylist()
    return found


FORMATS: dict[str, Callable[[httpx.Response], list[float | None]]] = {
    "rows": lambda answer: [bar["volume"] for bar in answer.json()["bars"]],
    "columns": lambda answer: answer.json()["v"],
    "points": lambda answer: [point["value"] for point in answer.json()["volume"]] or [None] * 390,
    "arrow": arrow_volumes,
}


async def test_bars_in_a_vendors_words_are_read(start_aggregator: StartAggregator, start_app: StartApp) -> None:
    words = {"open": "1.5", "high": "2.5", "low": "1", "close": "2.25", "volume": 7}
    bars = [{"timestamp": (OPEN + 60 * number) * 1000, **words} for number in range(3)]
    client = await start_aggregator(backend_url=await start_app(backend(*bars)))
    answer = (await client.get("/api/v1/chart-data", params=WINDOW)).json()
    stamps = [f"2024-01-02T14:{30 + number}:00Z" for number in range(3)]
    values = {"open": 1.5, "high": 2.5, "low": 1.0, "close": 2.25, "volume": 7}
    assert answer["bars"] == [{"timestamp": stamp, **values} for stamp in stamps]


@pytest.mark.parametrize("field", ["t", "o", "h", "l", "c"])
async def test_field_that_is_not_understood_is_named_and_the_symbol_not_called_unknown(
    field: str, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    bars = [{**minute(number), field: ["?"]} for number in range(3)]
    client = await start_aggregator(backend_url=await start_app(backend(*bars)))
    for timeframe in ("1M", "1D"):
        answer = await client.get("/api/v1/chart-data", params={**WINDOW, "timeframe": timeframe})
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "BACKEND_UNAVAILABLE"
        assert f"`{field}`" in answer.json()["error"]["message"]


@pytest.mark.parametrize("status", [304, 418])
async def test_a_status_that_no_bars_come_with_is_the_backends_fault(
    status: int, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    foreign = backend(minute(0))
    foreign.statuses |= dict.fromkeys(("/bars/minute", "/bars/daily"), status)
    client = await start_aggregator(backend_url=await start_app(foreign))
    answer = await client.get("/api/v1/chart-data", params=WINDOW)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["backend_status"]) == (
        502,
        "BACKEND_UNAVAILABLE",
        status,
    )


async def test_a_defect_in_reading_bars_is_logged_and_the_backends_fault(
    start_aggregator: StartAggregator,
    start_app: StartApp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("bff_aggregator.backend.bars_reader.parse", breaks)
    client = await start_aggregator(backend_url=await start_app(backend(minute(0))))
    answer = await client.get("/api/v1/chart-data", params=WINDOW)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")
    assert "unreadable bars" in caplog.text
