"""The tour of a trader, and what everybody has to be able to do: keyboard, screen reader, small screen, both themes."""

import gzip
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from bff_tools import Stack
from tests.browser.conftest import ROOT
from tests.support.dashboard import (
    YEAR_RUN,
    ask,
    assert_balanced,
    facts,
    find_run,
    measured,
    open_player,
    open_run,
    until,
    wait_for_seq,
)

pytestmark = pytest.mark.slow

AXE = ROOT / "frontend/node_modules/axe-core/axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
IMAGES = ROOT / "docs/images"


@pytest.fixture(scope="module")
def run(stack: Stack) -> str:
    """A run over a year of minutes, with every part."""
    return find_run(stack.backend_url, **YEAR_RUN)


def picture(page: Page, name: str) -> None:
    """Keep a picture for the README where the environment asks for it (`SCREENSHOTS=1`)."""
    if os.environ.get("SCREENSHOTS"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png")


def test_list_is_filtered_and_sorted_and_says_so_in_its_address(page: Page) -> None:
    page.goto("/")
    rows = page.locator("table.runs tbody tr")
    expect(rows.nth(10)).to_be_visible()
    everything = rows.count()
    page.get_by_label("Symbol").first.fill("nvda")
    # Symbols are the backend's, so case counts; what may have been meant is a click away.
    page.get_by_role("link", name="Look for NVDA").click()
    expect(page).to_have_url(re.compile("symbol=NVDA"))
    until(page, "all => document.querySelectorAll('table.runs tbody tr').length < all", everything)
    assert all("NVDA" in text for text in rows.locator("th").all_inner_texts())
    page.get_by_role("button", name="Return").click()
    expect(page.get_by_role("columnheader", name="Return")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("combobox", name="Status").select_option("DONE")
    expect(page).to_have_url(re.compile("status=DONE"))
    until(page, "() => !document.querySelector('table.runs').innerText.includes('pending')")
    shown = [
        text.replace("\N{MINUS SIGN}", "-").rstrip("%") for text in rows.locator("td:nth-of-type(4)").all_inner_texts()
    ]
    figures = [float(text) for text in shown if text != "\N{EN DASH}"]
    assert figures == sorted(figures, reverse=True)
    assert len(figures) > 1
    page.reload()
    expect(page.get_by_label("Symbol").first).to_have_value("NVDA")


def test_older_runs_are_loaded_when_they_are_asked_for(page: Page) -> None:
    # The demo backend has too few runs for a second hundred.
    page.route(
        re.compile(r"/api/v1/runs\?"),
        lambda route: route.fulfill(response=(answer := route.fetch()), json={**answer.json(), "total": 250}),
    )
    page.goto("/")
    older = page.get_by_role("button", name="Load older")
    for limit in (200, 300):
        with page.expect_response(re.compile(f"limit={limit}")):
            older.click()
    expect(older).to_have_count(0)


def test_run_is_created_and_watched_until_it_is_done(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="New run").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Symbol").fill("MSFT")
    dialog.get_by_label("From").fill("2024-05-01")
    dialog.get_by_label("To").fill("2024-05-31")
    dialog.get_by_label("Seed").fill("7")
    dialog.get_by_role("button", name="Start run").click()
    page.wait_for_selector("section[data-view=run]")
    page.wait_for_selector("section[data-status=DONE]")
    page.wait_for_selector(".equity .chart")
    expect(page.locator(".metrics dt").first).to_have_text("Total return")


def test_impossible_run_is_refused_in_words(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="New run").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Fast average").fill("60")
    dialog.get_by_role("button", name="Start run").click()
    expect(dialog.get_by_role("alert")).to_contain_text("fast")


def test_run_shows_chart_equity_figures_and_orders(page: Page, run: str) -> None:
    open_run(page, run)
    expect(page.locator(".metrics dd").first).to_contain_text("%")
    expect(page.locator(".orders tbody tr")).to_have_count(50)
    expect(page.locator(".orders tbody tr").first).to_contain_text("Tue, Jan 2, 2024, 09:30")
    assert facts(page, ".price .chart")["timeframe"] == "1D"
    picture(page, "run")
    page.get_by_role("button", name="Later").last.click()
    expect(page.locator(".orders")).to_contain_text("2 /")


@pytest.mark.parametrize("way", ["list", "link"])
def test_run_takes_one_call_with_its_chart_and_all_its_parts(page: Page, run: str, way: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split("/api/v1/")[-1].split("?")[0]))
    if way == "list":
        page.goto("/")
        page.locator(f'a.run-link[href="/?run={run}"]').click()
    else:
        page.goto(f"/?run={run}")
    page.wait_for_selector(".equity .chart")
    page.wait_for_selector(".price .chart[data-bars]")
    expect(page.locator(".orders tbody tr")).to_have_count(50)
    data = ("runs/", "chart", "backtests", "bars")
    assert [what for what in asked if what.startswith(data)] == [f"runs/{run}/view"]


def test_chart_of_a_run_is_drawn_while_its_equity_is_still_on_its_way(page: Page, stack: Stack) -> None:
    # No other test opens this run, so its curve has to be read.
    run = find_run(stack.backend_url, symbol="TSLA", run_from="2025-01-01")
    fault = {"path_prefix": f"/backtests/{run}/equity", "latency_ms": 1_000}
    ask(f"{stack.backend_url}/__faults", "PUT", fault)
    page.goto(f"/?run={run}")
    page.wait_for_selector(".equity .chart")
    ask(f"{stack.backend_url}/__faults", "DELETE")
    drawn, answered = page.evaluate(
        """() => [performance.getEntriesByName('chart-drawn')[0].startTime,
        performance.getEntriesByType('resource').find(({name}) => name.includes('/view')).responseEnd]"""
    )
    assert drawn < answered


def test_run_that_is_pointed_at_is_on_its_way_before_the_click(page: Page, run: str) -> None:
    page.goto("/")
    link = page.locator(f'a.run-link[href="/?run={run}"]')
    link.wait_for()
    with page.expect_response(lambda answer: f"/api/v1/runs/{run}/view" in answer.url):
        link.hover()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    link.click()
    page.wait_for_selector(".equity .chart")
    assert not [url for url in asked if f"/runs/{run}/" in url]


def test_last_known_flags_count_where_new_ones_do_not_come(page: Page) -> None:
    page.goto("/")
    page.wait_for_selector("table.runs tbody tr")
    page.route("**/ofrep/**", lambda _: None)
    with page.expect_request(re.compile("/api/v1/runs")):
        page.reload()
    with measured():
        page.wait_for_selector("table.runs tbody tr", timeout=2500)
    page.unroute_all(behavior="ignoreErrors")


def test_range_and_timeframe_fetch_what_they_need_and_mark_orders(page: Page, run: str) -> None:
    open_run(page, run)
    page.get_by_role("button", name="1 mo, one month").click()
    until(page, "() => document.querySelector('.price .chart').dataset.timeframe === '1H'")
    until(page, "() => Number(document.querySelector('.price .chart').dataset.marks) > 0")
    month = facts(page, ".price .chart")
    assert month["from"] > "2024-10"
    page.get_by_role("button", name="1 min, minutes").click()
    until(page, "() => document.querySelector('.price .chart').dataset.timeframe.startsWith('1M')")
    assert "tf=1min" in page.url
    page.get_by_role("button", name="5 min, five minutes").click()
    until(page, "() => document.querySelector('.price .chart').dataset.timeframe === '5M'")
    assert int(facts(page, ".price .chart")["stride"]) % 5 == 0
    assert "tf=5min" in page.url


def test_zoom_and_pan_fetch_as_they_go_and_keep_old_bars_on_screen(page: Page, run: str) -> None:
    open_run(page, run, "&tf=1min&from=2024-06-10T00:00&to=2024-06-14T00:00")
    chart = page.locator(".price .chart")
    before = facts(page, ".price .chart")
    page.evaluate(
        """() => { window.emptied = 0; new MutationObserver(() => {
        if (!document.querySelector('.price .chart').dataset.bars) window.emptied += 1;
        }).observe(document.querySelector('.price'), {attributes: true, subtree: true, childList: true}); }"""
    )
    box = chart.bounding_box()
    assert box is not None
    for _ in range(3):
        page.mouse.move(box["x"] + 150, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 800, box["y"] + 100, steps=5)
        page.mouse.up()
    until(page, "from => document.querySelector('.price .chart').dataset.from < from", before["from"])
    group = page.get_by_role("group", name=re.compile("candles"))
    group.focus()
    for _ in range(3):
        page.keyboard.press("-")
    until(page, "to => document.querySelector('.price .chart').dataset.to > to", before["to"])
    assert page.evaluate("window.emptied") == 0


def test_link_reproduces_the_view(page: Page, run: str) -> None:
    open_run(page, run, "&tf=1h&from=2024-03-04T00:00&to=2024-03-22T00:00")
    until(page, "() => document.querySelector('.price .chart').dataset.timeframe === '1H'")
    page.get_by_role("button", name="Later").first.click()
    page.wait_for_url(re.compile("from=2024-03-1"))
    seen = page.get_by_role("group", name=re.compile("candles")).get_attribute("aria-label")
    page.reload()
    page.wait_for_selector(".price .chart[data-bars]")
    again = page.get_by_role("group", name=re.compile("candles")).get_attribute("aria-label")
    assert (seen or "").split(", last")[0] == (again or "").split(", last")[0]


def test_playback_by_keyboard_loses_nothing(page: Page, run: str) -> None:
    open_player(page, run)
    page.keyboard.press("Space")
    wait_for_seq(page, 3000)
    picture(page, "playback")
    assert_balanced(page)
    assert facts(page, ".stage")["base"] == "-1"
    page.keyboard.press("Space")
    expect(page.locator(".stage")).to_have_attribute("data-playing", "false")
    until(page, "() => location.search.includes('at=')")
    stood = int(facts(page, ".stage")["seq"])
    page.keyboard.press("ArrowRight")
    wait_for_seq(page, stood + 1)
    assert int(facts(page, ".stage")["seq"]) >= stood + 1
    assert_balanced(page)
    here = int(facts(page, ".stage")["seq"])
    page.keyboard.press("ArrowLeft")
    until(page, "here => Number(document.querySelector('.stage').dataset.seq) === here - 1", here)


def test_seek_bar_reaches_the_whole_run_and_the_address_follows(page: Page, run: str) -> None:
    open_player(page, run)
    bar = page.get_by_role("slider", name="Position in the run")
    bar.focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    # Half of the run, after the last of five steps of a tenth.
    until(page, "() => Number(document.querySelector('.stage').dataset.seq) > 45000")
    at = facts(page, ".stage")["at"]
    assert at > "2024-05"
    until(page, "() => Number(document.querySelector('.stage').dataset.candles) > 50")
    page.wait_for_url(re.compile(f"at={at[:16]}"))
    page.reload()
    page.wait_for_selector(".stage[data-seq]")
    until(page, "at => document.querySelector('.stage').dataset.at === at", at)


def test_speed_changes_while_playing(page: Page, run: str) -> None:
    open_player(page, run, "&speed=1")
    page.get_by_role("button", name="Play", exact=True).click()
    wait_for_seq(page, 5)
    slow = int(facts(page, ".stage")["seq"])
    page.get_by_label("Speed").select_option("240")
    wait_for_seq(page, slow + 5000)
    assert_balanced(page)


def test_engineers_panel_compares_both_sides_and_switches_this_browser(page: Page, run: str) -> None:
    open_run(page, run)
    page.keyboard.press("`")
    panel = page.get_by_role("complementary", name="Engineering")
    expect(panel.get_by_role("switch")).to_have_count(4)
    panel.get_by_role("button", name="Measure both").click()
    table = panel.get_by_role("table", name="Measured just now")
    expect(table).to_be_visible()
    calls = table.locator("tr[data-measure=calls] td").all_inner_texts()
    assert int(calls[0]) > int(calls[1]) == 1
    # As they are on the wire, where the 550 kB of the BFF are compressed.
    size, unit = table.locator("tr[data-measure=bytes] td").all_inner_texts()[1].split()
    assert (float(size) < 200, unit) == (True, "kB")
    picture(page, "engineers")
    panel.get_by_role("switch", name="chart_data").click()
    expect(panel).to_contain_text("set in this browser")
    with page.expect_response(lambda answer: "/bars/" in answer.url):
        page.get_by_role("button", name="1 h, hours").click()
    panel.get_by_role("button", name="Reset chart_data").click()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)


VIEWS = {"list": "/", "run": "/?run={run}", "playback": "/?run={run}&view=play"}
READY = {"list": "table.runs tbody tr", "run": ".equity .chart", "playback": ".stage [data-connection=live]"}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, stack: Stack, run: str, theme: str, chromium: str) -> None:
    assert chromium
    context = browser.new_context(base_url=stack.origin, bypass_csp=True, reduced_motion="reduce")
    page = context.new_page()
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    found = []
    for view, address in VIEWS.items():
        page.goto(address.format(run=run))
        page.wait_for_selector(READY[view])
        page.keyboard.press("`")
        page.wait_for_selector("#engineers")
        page.add_script_tag(path=AXE)
        result = page.evaluate("tags => axe.run(document, {runOnly: tags})", WCAG)
        found += [(view, rule["id"], rule["nodes"][0]["html"][:200]) for rule in result["violations"]]
    page.goto("/")
    page.get_by_role("button", name="New run").click()
    page.add_script_tag(path=AXE)
    result = page.evaluate("tags => axe.run(document, {runOnly: tags})", WCAG)
    found += [("dialog", rule["id"], rule["nodes"][0]["html"][:200]) for rule in result["violations"]]
    context.close()
    assert found == []


def test_nothing_is_cut_off_at_380_pixels(browser: Browser, stack: Stack, run: str) -> None:
    context = browser.new_context(base_url=stack.origin, viewport={"width": 380, "height": 800}, color_scheme="dark")
    page = context.new_page()
    for view, address in VIEWS.items():
        page.goto(address.format(run=run))
        page.wait_for_selector(READY[view])
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, view
        if view == "run":
            picture(page, "narrow")
    context.close()


def test_motion_is_left_out_where_it_is_not_wanted(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    page.wait_for_selector("table.runs tbody tr")
    assert page.evaluate("document.getAnimations().length") == 0


def test_theme_is_chosen_and_kept(page: Page) -> None:
    page.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector("table.runs tbody tr")
    picture(page, "runs")
    assert page.evaluate(ground) == dark


def test_focus_goes_through_the_page_in_its_order(page: Page) -> None:
    page.goto("/")
    page.wait_for_selector("table.runs tbody tr")
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.tagName"))
    assert reached[0] == "Skip to the content"
    assert reached[1] == "Backtests"
    assert reached[4] == "New run"


def test_page_is_within_its_size_budget(built_page: Path) -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in built_page.rglob("*.*") if path.is_file()}
    first = sum(size for name, size in sizes.items() if name.startswith("index"))
    assert first <= 115_000, sizes
    assert sum(sizes.values()) <= 193_000, sizes
