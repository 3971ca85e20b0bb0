"""What one tab, one hung service or a failing backend costs a page, and what the page then does to the others."""

import contextlib
import http.client
import json
import re
import signal
import statistics
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import BrowserContext, Page, Response, expect

from bff_tools import Stack
from tests.browser.conftest import TOKEN
from tests.support.dashboard import MONTH_RUN, YEAR_RUN, ask, eventually, find_run, measured, wait_for_flag

pytestmark = pytest.mark.slow

TABS = 10
HALF_YEAR_RUN = {"symbol": "SPY", "run_from": "2025-01-01"}
READS = re.compile(r"/api/v1/(runs|chart-data)")
FETCH = """async () => {
  const since = performance.now();
  await fetch("/health/live", { cache: "no-store", signal: AbortSignal.timeout(10_000) });
  return performance.now() - since;
}"""
"""Makes a request in a page, and returns how long it took in milliseconds."""


@pytest.fixture(autouse=True)
def _restored(stack: Stack) -> Iterator[None]:
    """Give the stack back with everything running, no faults and the flags as delivered."""
    yield
    stack["aggregator"].signal(signal.SIGCONT)
    ask(f"{stack.backend_url}/__faults", "DELETE")
    ask(f"{stack.origin}/api/v1/flags/websocket", "DELETE", token=TOKEN)


def listeners(stack: Stack) -> int:
    """Return how many event streams of flags are open."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stack['proxy'].port}/metrics", timeout=30) as answer:
        found = re.search(r"^bff_flag_listeners(?:\{.*\})? (\d+)", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def typical(page: Page) -> float:
    """Return how many milliseconds a request of a page's takes: the median of several."""
    return statistics.median(float(page.evaluate(FETCH)) for _ in range(15))


def open_list(context: BrowserContext) -> Page:
    """Open the list in a tab of its own, with the panel that shows the flags."""
    page = context.new_page()
    page.goto("/")
    page.wait_for_selector("table.runs tbody tr")
    page.keyboard.press("`")
    expect(page.get_by_role("switch", name="websocket")).to_be_checked()
    return page


def flip(stack: Stack, value: bool) -> None:
    """Change the flag of playbacks for everybody."""
    body = {"value": value, "reason": "a test of the page"}
    ask(f"{stack.origin}/api/v1/flags/websocket", "PUT", body, token=TOKEN)


def test_ten_tabs_hold_one_event_stream_and_ask_once_and_a_request_takes_no_longer(page: Page, stack: Stack) -> None:
    context = page.context
    tabs = [open_list(context)]
    eventually(page, lambda: listeners(stack) == 1)
    alone = typical(tabs[0])
    tabs += [open_list(context) for _ in range(TABS - 1)]
    assert listeners(stack) == 1
    with measured():
        for tab in (tabs[0], tabs[-1]):
            # With a stream for each tab the browser has no connection left, and a request gets no answer at all.
            assert typical(tab) < 2 * alone + 100
    evaluations: list[str] = []
    context.on("request", lambda request: evaluations.append(request.url) if "/ofrep/" in request.url else None)
    flip(stack, value=False)
    for tab in tabs:
        expect(tab.get_by_role("switch", name="websocket")).not_to_be_checked()
    # One tab asks for all; each also polls every 30 s, and that may fall into this moment.
    assert 1 <= len(evaluations) <= 3
    # Whichever of them listens for all: it is among those that are closed, sooner or later.
    for tab in tabs[:-1]:
        tab.close()
        eventually(tabs[-1], lambda: listeners(stack) == 1)
    flip(stack, value=True)
    expect(tabs[-1].get_by_role("switch", name="websocket")).to_be_checked()


def test_hung_aggregator_is_waited_for_once_and_found_again_when_it_is_well(page: Page, stack: Stack) -> None:
    def took(fields: dict[str, str]) -> float:
        run = find_run(stack.backend_url, **fields)
        since = time.monotonic()
        page.locator(f'a.run-link[href="/?run={run}"]').click()
        page.wait_for_selector(".price .chart[data-bars]")
        page.wait_for_selector(".equity .chart")
        seconds = time.monotonic() - since
        page.go_back()
        page.wait_for_selector("table.runs tbody tr")
        return seconds

    page.goto("/")
    page.wait_for_selector("table.runs tbody tr")
    wait_for_flag(page, "run_data", value=True)
    stack["aggregator"].signal(signal.SIGSTOP)
    # The first waits for the aggregator; what legacy itself takes is seen in those that come after.
    first = took(MONTH_RUN)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if READS.search(request.url) else None)
    later = [took(run) for run in (HALF_YEAR_RUN, MONTH_RUN, YEAR_RUN)]
    assert asked == []
    with measured():
        assert first < 6 + max(later)

    def is_read(answer: Response) -> bool:
        return bool(READS.search(answer.url)) and answer.ok

    with page.expect_response(is_read, timeout=60_000):
        stack["aggregator"].signal(signal.SIGCONT)
    took(MONTH_RUN)
    assert asked


def press(stack: Stack, what: str) -> set[str]:
    """Let ten clients ask for what cannot be answered, so that the breaker opens; return the codes of the errors."""

    def code_of(number: int) -> str:
        own_address = (f"127.0.0.{2 + number % 10}", 0)
        connection = http.client.HTTPConnection("127.0.0.1", stack.origin_port, timeout=30, source_address=own_address)
        with contextlib.closing(connection):
            connection.request("GET", what.format(uuid.uuid4().hex))
            response = connection.getresponse()
            body = json.load(response)
            return str(body["error"]["code"]) if response.status >= 400 else ""

    with ThreadPoolExecutor(10) as pool:
        return set(pool.map(code_of, range(30)))


def open_breaker(page: Page, stack: Stack, what: str) -> None:
    """Ask until the breaker of a route is open."""
    eventually(page, lambda: "BACKEND_CIRCUIT_OPEN" in press(stack, what), 60)


def test_page_leaves_the_backend_alone_while_the_breaker_is_open(page: Page, stack: Stack) -> None:
    def legacy_requests() -> int:
        lines = (stack.folder / "nginx.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return sum(entry["route"] == "backend" for entry in entries)

    run = find_run(stack.backend_url, symbol="NVDA", run_from="2025-01-01")
    before = legacy_requests()
    ask(f"{stack.backend_url}/__faults", "PUT", {"path_pattern": "^/(backtests|bars)", "error_status": 503})
    said = set()
    # Nobody has asked for these before, so nothing that is kept can stand in for them.
    for path, asked in (("/?symbol=ZZZZ", "/api/v1/runs?symbol={}"), (f"/?run={run}", "/api/v1/runs/{}/complete")):
        open_breaker(page, stack, asked)
        page.goto(path)
        alert = page.get_by_role("alert").first
        expect(alert).to_be_visible()
        said.add(alert.locator("code").first.inner_text())
        alert.get_by_role("button", name="Retry").click()
        expect(alert).to_be_visible()
    assert said <= {"BACKEND_CIRCUIT_OPEN", "BACKEND_UNAVAILABLE"}
    page.goto(f"/?run={run}&view=play")
    page.wait_for_timeout(3000)
    assert legacy_requests() == before
