"""What fails in a part of the page stays in it, and says what it was."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from bff_tools import Stack
from tests.support.dashboard import MONTH_RUN, ask, facts, find_run, open_player

pytestmark = pytest.mark.slow

CODE = re.compile(r"/assets/run-view-.*\.js$")


def test_code_that_a_deployment_has_replaced_is_had_by_loading_the_page_anew_once(page: Page, stack: Stack) -> None:
    month = find_run(stack.backend_url, **MONTH_RUN)
    page.route(CODE, lambda route: route.fulfill(status=404, body="gone"))
    page.goto("/")
    page.evaluate("() => { window.isFirst = true; }")
    page.locator(f'a.run-link[href="/?run={month}"]').click()
    page.wait_for_function("() => !window.isFirst")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("a part of the page could not be loaded")
    # It has been loaded anew once, and is not again: the reader decides.
    page.evaluate("() => { window.isSecond = true; }")
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.isSecond")
    page.go_back()
    expect(page.locator("table.runs tbody tr").first).to_be_visible()
    page.go_forward()
    page.unroute(CODE)
    alert.get_by_role("button", name="Retry").click()
    page.wait_for_selector(".equity .chart")


def test_answer_that_a_view_cannot_show_leaves_the_page_and_the_way_back(page: Page, stack: Stack) -> None:
    listing = ask(f"{stack.origin}/api/v1/runs?limit=100")
    listing["items"][0]["symbol"] = {"not": "text"}
    page.route(
        "**/api/v1/runs?*", lambda route: route.fulfill(body=json.dumps(listing), content_type="application/json")
    )
    page.goto("/")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This view failed")
    expect(page.get_by_role("button", name="Engineering")).to_be_visible()
    page.unroute("**/api/v1/runs?*")
    alert.get_by_role("button", name="Retry").click()
    page.reload()
    expect(page.locator("table.runs tbody tr").first).to_be_visible()


def test_chart_of_a_run_whose_window_the_list_does_not_know_is_of_the_run_s_own(page: Page, stack: Stack) -> None:
    month = find_run(stack.backend_url, **MONTH_RUN)
    listing = ask(f"{stack.origin}/api/v1/runs?limit=100")
    next(item for item in listing["items"] if item["run_id"] == month).update(run_from=None, run_to=None)
    body = json.dumps(listing)
    page.route("**/api/v1/runs?*", lambda route: route.fulfill(body=body, content_type="application/json"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    page.locator(f'a.run-link[href="/?run={month}"]').click()
    page.wait_for_selector(".price .chart[data-bars]")
    assert int(facts(page, ".price .chart")["bars"]) > 0
    assert not [url for url in asked if "1970" in url]


def test_strategy_of_two_words_can_be_typed(page: Page) -> None:
    page.goto("/")
    field = page.get_by_label("Strategy")
    field.press_sequentially("mean reversion", delay=100)
    expect(field).to_have_value("mean reversion")
    page.wait_for_url(re.compile(r"strategy=mean(\+|%20)reversion"))


def test_run_that_failed_has_nothing_to_play(page: Page, stack: Stack) -> None:
    failed = find_run(stack.backend_url, symbol="MSFT", run_from="2025-06-01")
    page.goto(f"/?run={failed}")
    expect(page.locator("#title")).to_contain_text("MSFT")
    expect(page.locator("[data-view=run]")).to_contain_text(re.compile("error", re.IGNORECASE))
    expect(page.get_by_role("link", name="Play this run")).to_have_count(0)


def test_touch_that_the_browser_takes_over_lets_the_seek_bar_go(page: Page, stack: Stack) -> None:
    open_player(page, find_run(stack.backend_url, **MONTH_RUN))
    bar = page.get_by_label("Position in the run")
    bar.dispatch_event("input")
    expect(bar).to_have_attribute("data-held", "yes")
    bar.dispatch_event("pointercancel", {"bubbles": True})
    expect(bar).not_to_have_attribute("data-held", "yes")
