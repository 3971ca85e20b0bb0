"""Sides are changed, and fall away, while a page is open: nothing is lost, and the page says what is what."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from bff_tools import Stack
from tests.browser.conftest import TOKEN, Complaints
from tests.support.clocks import FAKETIME
from tests.support.dashboard import (
    MONTH_RUN,
    YEAR_RUN,
    ask,
    assert_balanced,
    eventually,
    facts,
    find_run,
    frames_read,
    measured,
    open_player,
    open_run,
    until,
    wait_for_chart,
    wait_for_flag,
    wait_for_seq,
)

pytestmark = pytest.mark.slow

SERVICES = ("proxy", "aggregator", "wsrelay")
MONTH_CHART = {"symbol": "SPY", "timeframe": "1D", "from_date": "2024-06-01", "to_date": "2024-06-30"}
SOME = 60
"""Frames that show that a playback goes on."""


@pytest.fixture(scope="module")
def run(stack: Stack) -> str:
    """A run over a year of minutes, with every part."""
    return find_run(stack.backend_url, **YEAR_RUN)


@pytest.fixture(scope="module")
def month(stack: Stack) -> str:
    """A run over a month of minutes, which either side has read in a moment."""
    return find_run(stack.backend_url, **MONTH_RUN)


@pytest.fixture(autouse=True)
def _restored(stack: Stack) -> Iterator[None]:
    """Give the stack back as it was: everything up, no faults, flags as delivered."""
    yield
    ended = [child for child in (stack[name] for name in ("backend", *SERVICES)) if not child.pid]
    for child in ended:
        child.start()
    for child in ended:
        child.wait_ready()
    ask(f"{stack.backend_url}/__faults", "DELETE")
    for key in ("bff", "chart_data", "run_data", "websocket"):
        ask(f"{stack.origin}/api/v1/flags/{key}", "DELETE", token=TOKEN)


def flip(stack: Stack, key: str, value: bool) -> None:
    """Change a flag for everybody."""
    body = {"value": value, "reason": "a test of the page"}
    ask(f"{stack.origin}/api/v1/flags/{key}", "PUT", body, token=TOKEN)


def wait_for_side(page: Page, side: str) -> None:
    """Wait until the playback runs over a side."""
    page.wait_for_selector(f".stage [data-connection=live][data-side={side}]")


def wait_for_stale(page: Page, url: str) -> None:
    """Wait until an answer says that it is stale."""

    def is_stale() -> bool:
        said = ask(url)
        return bool(said.get("metadata", said)["stale"])

    eventually(page, is_stale)


COLLECT = """() => {
  const stage = document.querySelector(".stage");
  window.finished = new Set();
  new MutationObserver(() => window.finished.add(stage.dataset.finished))
    .observe(stage, { attributeFilter: ["data-finished"] });
}"""


def chart_of_hours(stack: Stack) -> dict[int, list[float]]:
    """Return the month's hours as the chart has them, by their starts."""
    query = urlencode(MONTH_CHART | {"timeframe": "1H", "format": "columns"})
    columns = ask(f"{stack.origin}/api/v1/chart-data?{query}")
    return {t: row for t, *row in zip(*(columns[name] for name in "tohlcv"), strict=True)}


def assert_figures(page: Page, whole: dict[str, Any]) -> None:
    """What stands under the chart is what the run says of the frame that is shown."""
    seq = int(facts(page, ".stage")["seq"])
    points = whole["equity"][: seq + 1]
    values = [point["value"] for point in points]
    orders = [order for order in whole["orders"] if order["ts"] <= points[-1]["ts"]]
    drawdown = 100 * (max(values) - values[-1]) / max(values)
    shown = {name: page.inner_text(f"[data-live={name}]") for name in ("equity", "drawdown", "orders")}
    expected = {"equity": f"{values[-1]:,.2f}", "drawdown": f"{drawdown:.2f}%", "orders": f"{len(orders):,}"}
    assert {name: text.lstrip("$") for name, text in shown.items()} == expected


@pytest.mark.parametrize("side", ["bff", "legacy"])
def test_playback_shows_the_charts_candles_and_the_runs_figures_after_a_seek_and_a_reload(
    page: Page, stack: Stack, month: str, side: str
) -> None:
    whole = ask(f"{stack.origin}/api/v1/runs/{month}/complete?equity_points=0")
    flip(stack, "websocket", side == "bff")
    chart = chart_of_hours(stack)
    open_player(page, month, "&bar=60")
    wait_for_side(page, side)
    page.evaluate(COLLECT)
    page.click("button:text-is('Play')")
    page.wait_for_selector(".stage[data-ended=true]")
    until(page, "last => Number(document.querySelector('.stage').dataset.seq) === last", len(whole["equity"]) - 1)
    finished = [[float(number) for number in text.split()] for text in page.evaluate("[...window.finished]") if text]
    assert len(finished) > 10  # of 133; a busy page draws seldom
    assert [(t, row) for t, *row in finished if chart[int(t)] != row] == []
    assert_figures(page, whole)
    page.get_by_label("Position in the run").fill("400")
    page.get_by_label("Position in the run").press("ArrowRight")
    for _ in range(2):
        until(
            page, "() => { const { seq, frames } = document.querySelector('.stage').dataset; return frames === '1'; }"
        )
        assert_figures(page, whole)
        page.wait_for_url("**at=**")
        page.reload()
        wait_for_side(page, side)


@pytest.mark.parametrize("key", ["websocket", "bff"])
def test_stream_changes_sides_and_back_without_losing_a_frame(page: Page, stack: Stack, month: str, key: str) -> None:
    open_player(page, month, "&speed=3")
    wait_for_side(page, "bff")
    page.keyboard.press("Space")
    wait_for_seq(page, SOME)
    for value, side in ((False, "legacy"), (True, "bff")):
        flip(stack, key, value)
        wait_for_side(page, side)
        wait_for_seq(page, int(facts(page, ".stage")["seq"]) + SOME)
        assert_balanced(page)
    stage = facts(page, ".stage")
    assert (stage["base"], stage["playing"]) == ("-1", "true")


@pytest.mark.parametrize("key", ["chart_data", "bff"])
def test_chart_on_its_way_arrives_while_its_flag_changes(
    page: Page, stack: Stack, run: str, key: str, complaints: Complaints
) -> None:
    open_run(page, run)
    ask(f"{stack.backend_url}/__faults", "PUT", {"path_prefix": "/bars", "latency_ms": 700})
    bff, legacy = re.compile("/api/v1/chart-data"), re.compile("/bars/")
    for value, timeframe, side, other in ((False, "1 h", bff, legacy), (True, "1 min", legacy, bff)):
        with page.expect_response(side) as answered, page.expect_response(other) as anew:
            with page.expect_request(side):
                page.get_by_role("group", name="Timeframe").get_by_role("button", name=timeframe).click()
            flip(stack, key, value)
        assert answered.value.ok
        assert anew.value.ok
        wait_for_flag(page, key, value)
        wait_for_chart(page)
    assert complaints.data == []
    expect(page.get_by_role("alert")).to_have_count(0)


def test_run_is_read_over_the_other_side_the_moment_its_flag_changes(
    page: Page, stack: Stack, run: str, complaints: Complaints
) -> None:
    open_run(page, run)
    with page.expect_response(lambda answer: answer.url.endswith(f"/backtests/{run}/equity")):
        flip(stack, "run_data", False)
    with page.expect_response(lambda answer: f"/api/v1/runs/{run}/complete" in answer.url):
        flip(stack, "run_data", True)
    expect(page.locator(".metrics dd").first).to_contain_text("%")
    assert complaints.data == []


def test_run_that_is_pointed_at_over_legacy_is_left_alone_until_the_click(page: Page, stack: Stack, month: str) -> None:
    flip(stack, "run_data", value=False)
    page.goto("/")
    wait_for_flag(page, "run_data", value=False)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    link = page.locator(f'a.run-link[href="/?run={month}"]')
    link.hover()
    page.evaluate("() => new Promise(resolve => setTimeout(resolve, 200))")
    curve = f"{stack.origin}/backtests/{month}/equity"
    assert curve not in asked
    link.click()
    page.wait_for_selector(".equity .chart")
    assert curve in asked


def test_services_stopped_in_the_middle_leave_the_page_working_over_legacy(
    page: Page, stack: Stack, month: str
) -> None:
    open_player(page, month, "&speed=3")
    page.keyboard.press("Space")
    wait_for_seq(page, SOME)
    for name in SERVICES:
        stack[name].stop(1.0)
    wait_for_side(page, "legacy")
    wait_for_seq(page, int(facts(page, ".stage")["seq"]) + SOME)
    assert_balanced(page)
    assert facts(page, ".stage")["base"] == "-1"
    page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).click()
    page.wait_for_selector(".equity .chart")
    page.wait_for_selector(".price .chart[data-bars]")
    page.keyboard.press("`")
    expect(page.get_by_role("heading", name="Fell back to legacy")).to_be_visible()


def test_backend_stopped_leaves_playback_running_from_the_log(page: Page, stack: Stack, month: str) -> None:
    open_player(page, month, "&speed=5")
    page.keyboard.press("Space")
    eventually(page, lambda: frames_read(stack.origin, TOKEN) >= 6000)
    stack["backend"].stop(1.0)
    wait_for_seq(page, int(facts(page, ".stage")["seq"]) + 5 * SOME)
    assert_balanced(page)
    assert facts(page, "[data-connection]")["side"] == "bff"


@pytest.mark.skipif(FAKETIME is None and not os.environ.get("CI"), reason="libfaketime is not installed")
def test_what_is_past_its_freshness_while_the_backend_is_away_is_shown_and_called_stale(
    page: Page, stack: Stack, month: str, clock: Path
) -> None:
    open_run(page, month)
    expect(page.locator("[data-view=run]")).not_to_contain_text(re.compile("stale|last known"))
    stack["backend"].stop(1.0)
    try:
        clock.write_text("+1h")
        wait_for_stale(page, f"{stack.origin}/api/v1/runs/{month}/status")
        # Pages ask anew for everything when any flag changes.
        flip(stack, "websocket", value=False)
        expect(page.locator("[data-view=run]")).to_contain_text("showing the last known version of the run")
        expect(page.locator(".price")).not_to_contain_text("stale")
        # Bars of long ago are fresh for a day, and kept for one more.
        clock.write_text("+25h")
        wait_for_stale(page, f"{stack.origin}/api/v1/chart-data?{urlencode(MONTH_CHART)}")
        flip(stack, "websocket", value=True)
        expect(page.locator(".price")).to_contain_text("stale: the backend is away")
    finally:
        clock.write_text("+0")


def test_backend_away_keeps_old_bars_on_screen_and_offers_a_retry(page: Page, stack: Stack) -> None:
    # No other test asks for this symbol's minutes, so nothing that is kept can stand in for them.
    open_run(page, find_run(stack.backend_url, symbol="TSLA", run_from="2025-01-01"))
    stack["backend"].stop(1.0)
    page.get_by_role("button", name="1 min, minutes").click()
    alert = page.locator(".price").get_by_role("alert")
    expect(alert).to_contain_text("not the latest")
    assert int(facts(page, ".price .chart")["bars"]) > 100
    stack["backend"].start()
    stack["backend"].wait_ready()
    alert.get_by_role("button", name="Retry").click()
    expect(alert).to_have_count(0)


def test_part_that_fails_is_shown_as_missing_and_had_again(page: Page, stack: Stack) -> None:
    ask(f"{stack.backend_url}/__faults", "PUT", {"path_pattern": "/orders$", "error_status": 500})
    other = find_run(stack.backend_url, symbol="NVDA", run_from="2024-01-01")
    page.goto(f"/?run={other}")
    mark = page.locator(".part-mark[data-part=orders]")
    expect(mark).to_contain_text("failed")
    expect(page.locator(".equity .chart")).to_be_visible()
    expect(page.get_by_text("This run is incomplete")).to_be_visible()
    ask(f"{stack.backend_url}/__faults", "DELETE")
    mark.get_by_role("button", name="Retry").click()
    expect(page.locator(".orders tbody tr").first).to_be_visible()
    expect(mark).to_have_count(0)


def test_flip_reaches_an_open_page_within_two_seconds(page: Page, stack: Stack) -> None:
    page.goto("/")
    page.wait_for_selector("table.runs tbody tr")
    page.keyboard.press("`")
    switch = page.get_by_role("switch", name="websocket")
    expect(switch).to_be_checked()
    flip(stack, "websocket", False)
    with measured():
        expect(switch).not_to_be_checked(timeout=2000)
