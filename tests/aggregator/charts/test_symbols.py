"""A symbol is the backend's own: it is asked for as it was typed, and nobody is given another company's bars."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from tests.support.foreign import ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
WINDOW = {"timeframe": "1D", "from": "2024-01-01", "to": "2024-01-31"}
CHART = "/api/v1/chart-data"
NAMES = "AMpB brk.b ^GSPC ES=F EURUSD=X C:EURUSD M&M.NS WFC+ BTC/USD A%41 #1 ß O:SPY251219C00650000 1000SHIB-PERP"


@dataclass
class Exchange:
    """A backend that has one day of each of its symbols, whose close is the value; `asked` are symbols as they came."""

    closes: dict[str, float]
    asked: list[str] = field(default_factory=list)
    failing: frozenset[str] = frozenset()

    async def __call__(self, scope: dict[str, Any], _: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        symbol = parse_qs(scope["query_string"].decode("ascii"), strict_parsing=True)["symbol"][0]
        self.asked.append(symbol)
        close = self.closes.get(symbol)
        status = 500 if symbol in self.failing else 404 if close is None else 200
        bar = b'{"t":"2024-01-02T00:00:00Z","o":1.0,"h":1.0,"l":1.0,"c":%.1f,"v":1,"n":1}' % (close or 0)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b'{"bars":[%b]}' % bar if status == 200 else b"{}"})


@pytest.mark.parametrize(
    "symbol",
    [*NAMES.split(), "AAPL  240119C00150000", "x" * 64],
)
async def test_any_printable_symbol_is_charted_under_its_own_name(
    symbol: str, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    exchange = Exchange({symbol: 7.0, symbol.upper(): 8.0} | {symbol: 7.0})
    client = await start_aggregator(backend_url=await start_app(exchange))
    for _ in ("cold", "warm"):
        answer = await client.get(CHART, params={"symbol": symbol, **WINDOW})
        assert answer.status_code == 200, answer.text
        assert answer.json()["symbol"] == symbol
        assert [bar["close"] for bar in answer.json()["bars"]] == [7.0]
    assert set(exchange.asked) == {symbol}


async def test_two_companies_that_differ_by_case_have_their_own_bars(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    client = await start_aggregator(backend_url=await start_app(Exchange({"AMpB": 25.0, "AMPB": 999.0})))
    for symbol, close in {"AMpB": 25.0, "AMPB": 999.0}.items():
        bars = (await client.get(CHART, params={"symbol": symbol, **WINDOW})).json()["bars"]
        assert [bar["close"] for bar in bars] == [close]


async def test_unknown_symbol_whose_capitals_are_known_is_not_found_and_named(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    exchange = Exchange({"AAPL": 1.0})
    client = await start_aggregator(backend_url=await start_app(exchange))
    for _ in ("asked", "denied already"):
        for timeframe in ("1D", "1M"):
            answer = await client.get(CHART, params={"symbol": "aapl", **WINDOW, "timeframe": timeframe})
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert error["code"] == "DATASET_NOT_FOUND"
            assert error["details"]["did_you_mean"] == "AAPL"
            assert "AAPL" in error["message"]
    assert exchange.asked.count("AAPL") == 1


@pytest.mark.parametrize("symbol", ["nope", "NOPE"])
async def test_symbol_that_is_unknown_in_capitals_too_gets_no_hint(
    symbol: str, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    client = await start_aggregator(backend_url=await start_app(Exchange({})))
    answer = await client.get(CHART, params={"symbol": symbol, **WINDOW})
    assert answer.status_code == 404
    assert "did_you_mean" not in answer.json()["error"]["details"]


async def test_backend_that_fails_to_answer_about_capitals_costs_the_hint_alone(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    exchange = Exchange({}, failing=frozenset(("AAPL",)))
    client = await start_aggregator(backend_url=await start_app(exchange))
    answer = await client.get(CHART, params={"symbol": "aapl", **WINDOW})
    assert answer.status_code == 404
    assert "did_you_mean" not in answer.json()["error"]["details"]


async def test_list_is_filtered_by_the_backends_own_keys(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    asked: list[bytes] = []
    backend = ForeignBackend()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        asked.append(scope.get("query_string", b""))
        await backend(scope, receive, send)

    client = await start_aggregator(backend_url=await start_app(app))
    answer = await client.get("/api/v1/runs", params={"symbol": "M&M.ns", "strategy_id": "sma:ä"})
    assert answer.status_code == 200
    assert any(query.startswith(b"symbol=M%26M.ns&strategy_id=sma%3A%C3%A4&") for query in asked)
    assert (await client.get("/api/v1/runs", params={"symbol": "A\x00B"})).status_code == 422
