"""Instruments that are no US stocks, on a backend as deployed ones are: charts, runs and playback through the origin.

The backend has minutes after early closes and no routes for a run's parts, says no `end` over its WebSocket, and stands
still while it loads a run.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from websockets.asyncio.client import connect

from bff_tools import Stack, StackOptions
from tests.browser.conftest import DEADLINES
from tests.support.dashboard import assert_balanced, eventually, facts, find_run, open_player, open_run, wait_for_seq

pytestmark = pytest.mark.slow

AS_DEPLOYED = ("--no-early-closes", "--no-part-routes", "--load-delay", "0.3")
DIGITS = {"X:BTCUSD": 2, "PNNY": 6, "C:EURUSD": 5, "CL=F": 2, "ES=F": 2, "BRK.b": 2}
STEPS = {"PNNY": 1e-6, "C:EURUSD": 1e-5, "ES=F": 0.25}
TIMEFRAMES = ("1D", "1H", "1M", "1M_DECIMATED")
TARGET = 2_000
WAIT = 60.0
NO_VOLUME = "V \N{EN DASH}"

Runs = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def stack(chromium: str, built_page: Path) -> Iterator[Stack]:
    """What `make run` starts, in front of a backend as deployed."""
    assert chromium
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BFF_BACKEND_URL", raising=False)
        with Stack(
            StackOptions(demo_args=AS_DEPLOYED, environment={"aggregator": DEADLINES}, page=built_page)
        ) as running:
            yield running


@pytest.fixture(scope="module")
def origin(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.origin, trust_env=False, timeout=WAIT) as client:
        yield client


@pytest.fixture(scope="module")
def runs(stack: Stack) -> Runs:
    """The run of each instrument, as the backend describes it."""
    return {
        symbol: httpx.get(f"{stack.backend_url}/backtests/{find_run(stack.backend_url, symbol=symbol)}").json()
        for symbol in DIGITS
    }


@pytest.mark.parametrize("symbol", DIGITS)
def test_charts_have_every_candle_of_the_window(origin: httpx.Client, stack: Stack, runs: Runs, symbol: str) -> None:
    window = {"symbol": symbol, "from": runs[symbol]["run_from"], "to": runs[symbol]["run_to"]}
    minutes = httpx.get(f"{stack.backend_url}/bars/minute", params=window, timeout=WAIT).json()["bars"]
    for timeframe in TIMEFRAMES:
        asked = {"timeframe": timeframe, "target_points": TARGET, **window}
        chart = origin.get("/api/v1/chart-data", params=asked).json()
        bars, metadata = chart["bars"], chart["metadata"]
        assert 0 < len(bars) <= TARGET, timeframe
        assert all(one["timestamp"] < other["timestamp"] for one, other in itertools.pairwise(bars))
        assert metadata["price_format"]["digits"] == DIGITS[symbol]
        assert metadata["price_format"]["min_move"] == STEPS.get(symbol, 0.01)
        # An hour belongs to the date on which it starts, and hours start at half past.
        begin = f"{runs[symbol]['run_from']}T00:30" if timeframe == "1H" else ""
        inside = [bar for bar in minutes if bar["t"] >= begin]
        assert max(bar["high"] for bar in bars) >= max(bar["h"] for bar in inside)
        assert min(bar["low"] for bar in bars) <= min(bar["l"] for bar in inside)
        volumes = [bar["volume"] for bar in bars]
        if symbol == "C:EURUSD":
            assert set(volumes) == {None}
        else:
            assert sum(volumes) > 0.99 * sum(bar["v"] for bar in minutes)


@pytest.mark.parametrize("symbol", DIGITS)
def test_undecimated_minutes_are_the_backends(origin: httpx.Client, stack: Stack, symbol: str) -> None:
    day = {"symbol": symbol, "from": "2024-03-08", "to": "2024-03-08"}
    minutes = httpx.get(f"{stack.backend_url}/bars/minute", params=day, timeout=WAIT).json()["bars"]
    chart = origin.get("/api/v1/chart-data", params={"timeframe": "1M", **day}).json()
    found = {
        tuple(bar[name] for name in ("timestamp", "open", "high", "low", "close", "volume")) for bar in chart["bars"]
    }
    assert found >= {tuple(bar[name] for name in "tohlcv") for bar in minutes}


@pytest.mark.parametrize("symbol", DIGITS)
def test_run_is_whole_without_routes_for_its_parts(origin: httpx.Client, runs: Runs, symbol: str) -> None:
    path = f"/api/v1/runs/{runs[symbol]['run_id']}"
    whole = origin.get(f"{path}/complete", headers={"X-Request-Timeout": "30"}).json()
    metadata = whole["metadata"]
    assert (metadata["partial_data"], metadata["failed_sources"]) == (False, [])
    assert {metadata["parts"][part]["source"] for part in ("metrics", "equity", "orders")} <= {"frames", "cache"}
    assert whole["run"]["symbol"] == symbol
    assert len(whole["orders"]) > 10
    assert len(whole["equity"]) > 1000
    assert whole["metrics"]["total_return"] == pytest.approx(whole["equity"][-1]["value"] / 100_000 - 1)
    lines = [json.loads(line) for line in origin.get(f"{path}/view?timeframe=1H").text.splitlines()]
    assert {line["name"]: line["status"] for line in lines} == {"head": 200, "chart": 200, "run": 200}


def test_list_is_whole_without_routes_for_parts(origin: httpx.Client) -> None:
    limit = time.monotonic() + WAIT
    pending = set(DIGITS)
    while pending:
        for symbol in sorted(pending):
            (item,) = origin.get("/api/v1/runs", params={"symbol": symbol}).json()["items"]
            if item["metrics_state"] == "ok":
                assert item["metrics"]["total_return"] is not None
                pending.discard(symbol)
        assert time.monotonic() < limit, pending


@pytest.mark.parametrize("symbol", DIGITS)
def test_playback_ends_after_its_last_frame_and_nothing_counts_as_broken(stack: Stack, runs: Runs, symbol: str) -> None:
    async def played() -> list[dict[str, Any]]:
        url = f"{stack.origin.replace('http', 'ws')}/api/v1/runs/{runs[symbol]['run_id']}/stream?speed=3600&autoplay=1"
        messages = []
        async with asyncio.timeout(WAIT), connect(url, proxy=None) as socket:
            async for text in socket:
                messages.append(json.loads(text))
                if messages[-1]["t"] == "end":
                    break
        return messages

    messages = asyncio.run(played())
    frames = [message for message in messages if message["t"] == "frame"]
    extent = next((message for message in messages if message["t"] == "extent"), messages[0])
    assert sum(frame["n"] for frame in frames) == frames[-1]["seq"] + 1 == extent["total"]
    assert not [message for message in messages if message.get("state") == "reconnecting"]


# Pixels of candles (green and red) in the left share of a chart: none where it stayed blank.
CANDLES = """([selector, share]) => Math.max(...[...document.querySelectorAll(`${selector} canvas`)].map((canvas) => {
  if (canvas.width < 400) return 0;  // an axis, with the label of the last price
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width * share, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] > 200 && Math.abs(data[at] - data[at + 1]) > 60) found += 1;
  return found;
}))"""


@pytest.mark.parametrize("symbol", DIGITS)
def test_page_draws_each_timeframe_with_the_digits_of_its_prices(page: Page, runs: Runs, symbol: str) -> None:
    digits = DIGITS[symbol]
    open_run(page, runs[symbol]["run_id"])
    for words, timeframe in (("1 day", "1D"), ("1 h", "1H"), ("1 min", "1M")):
        page.locator(".price").get_by_role("button", name=words).first.click()
        page.wait_for_selector(f".price .chart[data-timeframe='{timeframe}'][data-bars]")
        eventually(page, lambda: page.evaluate(CANDLES, [".price .chart", 1]) > 200)
        legend = page.locator(".price .legend").inner_text()
        close = legend.split("\n")[4].removeprefix("C").strip()
        assert len(close.partition(".")[2]) == digits, legend
        assert (NO_VOLUME in legend) == (symbol == "C:EURUSD"), legend
    expect(page.locator(".metrics dd").first).to_contain_text("%")
    price = page.locator(".orders tbody tr").first.locator("td").nth(3)
    assert len(price.inner_text().partition(".")[2]) == digits
    expect(page.get_by_role("heading", name=symbol).first).to_be_visible()


@pytest.mark.parametrize("symbol", ["PNNY", "C:EURUSD", "ES=F"])
def test_page_plays_minutes_without_prices_or_volume_and_nights(page: Page, runs: Runs, symbol: str) -> None:
    open_player(page, runs[symbol]["run_id"], "&speed=10&bar=1")
    page.get_by_role("button", name="Play", exact=True).click()
    wait_for_seq(page, 300)
    page.get_by_role("button", name="Pause", exact=True).click()
    assert_balanced(page)
    # More minutes than fit have been played: a chart that follows them is full to its left end.
    eventually(page, lambda: page.evaluate(CANDLES, [".stage", 0.25]) > 100)
    shown = page.locator("[data-live=price]").first.inner_text()
    assert len(shown.partition(".")[2]) == DIGITS[symbol]
    assert int(facts(page, ".stage")["candles"]) > 0
