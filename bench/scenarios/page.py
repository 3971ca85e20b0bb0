"""Measure the page in Chromium, legacy against BFF: calls, bytes, time to a drawn chart, main thread; then its heap.

Usage: python -m bench.scenarios.page [--times 5] [--minutes 10] [--rest 250]

Opening a run goes from the click on its link to its candles being drawn (`chart ms`) and to both its charts being drawn
(`drawn ms`); opening a year of minutes from the click on the timeframe to the chart being drawn. Time counts from the
browser's click event, so that the work of the driver that brings it about is on neither side. `answered ms` is when the
last answer was there: what follows is the page's own work; what precedes is, without caches, mostly the backend's. The
page's own code has been loaded before. Cold: the caches are purged and the browser's profile is new; warm: opened again
in a new profile. Bytes are those on the wire, heads included.

Either is measured twice. "at once" presses and lets go in the same moment that the pointer arrives, which only a
machine can do. "by hand" lets the pointer be on its target for `--rest` milliseconds before the click, the press among
them, as it is with a person; over the BFF the page begins with that to ask for what is meant, over legacy it does not,
because the answers are megabytes.
`--minutes` is how long the run is played for the heap, which is measured after collecting garbage; 0 leaves it out, as
`--times 0` does with the rest.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.lib.figures import figure
from playwright.sync_api import Browser, CDPSession, Locator, Page, sync_playwright

from bff_tools import Stack, StackOptions

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-of-the-measurements"  # noqa: S105  of a stack that ends with this script
DATA = ("/api/v1/runs", "/api/v1/chart-data", "/backtests", "/bars")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
PRESS_MS = 80.0
"""How long a finger holds a button down."""
FIGURES = ("calls", "kB", "chart ms", "drawn ms", "answered ms", "main thread ms")

LISTEN = "addEventListener('click', event => { window.clicked = event.timeStamp; }, {capture: true, once: true})"
"""Keep the time of the next click."""

DRAWN = """async ([marks, paths]) => {
  while (window.clicked === undefined) await new Promise(requestAnimationFrame);
  const since = window.clicked;
  window.clicked = undefined;
  const set = name => performance.getEntriesByName(name).some(({startTime}) => startTime >= since);
  const drawn = async wanted => {
    while (!wanted.every(set)) await new Promise(requestAnimationFrame);
    // Ahead of what the page does next, for the frame is painted.
    await scheduler.postTask(() => {}, {priority: "user-blocking"});
    return performance.now() - since;
  };
  const [first, all] = await Promise.all([drawn(marks.slice(0, 1)), drawn(marks)]);
  const answers = performance.getEntriesByType("resource").filter(({name, startTime}) =>
    startTime >= since && paths.some(path => new URL(name).pathname.startsWith(path)));
  return [first, all, Math.max(since, ...answers.map(({responseEnd}) => responseEnd)) - since];
}"""
"""Resolve with the milliseconds from the click to the first frames after the first mark and after all marks were set,
and to the last answer, which is 0 where that was there before.
"""


@dataclass
class Traffic:
    """Requests for data, and the bytes of their answers by request."""

    calls: int = 0
    sizes: dict[str, float] = field(default_factory=dict)

    def listen(self, session: CDPSession) -> None:
        """Count from now on."""
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.responseReceived", self._headed)
        session.on("Network.dataReceived", self._received)
        session.send("Network.enable")

    def _sent(self, event: dict[str, Any]) -> None:
        path = "/" + event["request"]["url"].split("/", 3)[3]
        if path.startswith(DATA):
            self.sizes[event["requestId"]] = 0
            self.calls += 1

    def _headed(self, event: dict[str, Any]) -> None:
        self._add(event["requestId"], event["response"]["encodedDataLength"])

    def _received(self, event: dict[str, Any]) -> None:
        self._add(event["requestId"], event["encodedDataLength"])

    def _add(self, request: str, size: float) -> None:
        """Count bytes as they come: Chromium calls an answer that is read as a stream broken off where it has ended."""
        if request in self.sizes:
            self.sizes[request] += size


def ask(stack: Stack, path: str, method: str = "GET", body: Any = None) -> Any:
    """Make a request with the admin token and return its JSON."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(stack.origin + path, data, headers, method=method)  # noqa: S310  our own origin
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  as above
        return json.loads(answer.read() or "null")


@contextmanager
def opened(browser: Browser, stack: Stack) -> Iterator[tuple[Page, CDPSession]]:
    """Yield a page of a new profile with the list of runs, its code all loaded, and its protocol session."""
    context = browser.new_context(base_url=stack.origin, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto("/?run=none")
    page.wait_for_selector("[role=alert]")
    page.get_by_role("link", name="Backtests").click()
    page.wait_for_selector("table.runs tbody tr")
    page.wait_for_function("() => performance.getEntriesByName('prepared').length")
    yield page, session
    context.close()


def main_thread_ms(session: CDPSession) -> float:
    """Return how long the page's main thread has been busy so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def measured(page: Page, session: CDPSession, target: Locator, marks: tuple[str, ...], rest_ms: float) -> list[float]:
    """Return the figures of what a click brings about; calls and bytes count from when the pointer arrives."""
    traffic = Traffic()
    page.mouse.move(1, 1)
    target.scroll_into_view_if_needed()
    traffic.listen(session)
    busy = main_thread_ms(session)
    page.evaluate(LISTEN)
    if rest_ms:
        target.hover()
        page.wait_for_timeout(max(0.0, rest_ms - PRESS_MS))
    target.click(delay=min(rest_ms, PRESS_MS))
    first, drawn, answered = page.evaluate(DRAWN, [list(marks), DATA])
    page.wait_for_load_state("networkidle")
    return [traffic.calls, sum(traffic.sizes.values()) / 1000, first, drawn, answered, main_thread_ms(session) - busy]


def once(browser: Browser, stack: Stack, run: str, rest_ms: float) -> dict[str, list[float]]:
    """Open a run and then its year of minutes; return the figures of either."""
    with opened(browser, stack) as (page, session):
        link = page.locator(f'a.run-link[href="/?run={run}"]')
        minutes = page.get_by_role("button", name="1 min, minutes")
        return {
            "a run": measured(page, session, link, ("chart-drawn", "equity-drawn"), rest_ms),
            "a year of minutes": measured(page, session, minutes, ("chart-drawn",), rest_ms),
        }


def compare(browser: Browser, stack: Stack, run: str, times: int, rest_ms: float) -> None:
    """Print the figures of both sides, cold and warm."""
    manner = "by hand" if rest_ms else "at once"
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    for _ in range(times):
        for side in ("legacy", "bff"):
            ask(stack, "/api/v1/flags/bff", "PUT", {"value": side == "bff", "reason": "measured"})
            for path in (f"runs?run_id={run}", "chart-data?symbol=AAPL"):
                ask(stack, f"/api/v1/cache/{path}", "DELETE")
            for state in ("cold", "warm"):
                for what, figures in once(browser, stack, run, rest_ms).items():
                    found.setdefault((what, state, side), []).append(figures)
    print(f"{manner:40}" + "".join(f"{name:>16}" for name in FIGURES))
    for what in ("a run", "a year of minutes"):
        for state in ("cold", "warm"):
            legacy, bff = (medians(found[what, state, side]) for side in ("legacy", "bff"))
            for side, row in (("legacy", legacy), ("bff", bff)):
                print(f"{f'{what}, {state}, {side}':40}" + "".join(f"{value:16.1f}" for value in row))
            for column in (0, 2, 3):
                name = f"{what}, {state}, {manner}: {FIGURES[column]} of the BFF beside legacy"
                figure(name, bff[column] / legacy[column] if legacy[column] else 1.0, "x")
            less = [1 - after / before if before else 0.0 for before, after in zip(legacy, bff, strict=True)]
            print(f"{'  less':40}" + "".join(f"{share:15.0%} " for share in less))


def medians(rows: list[list[float]]) -> list[float]:
    """Return the median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def heap(browser: Browser, stack: Stack, run: str, minutes: float) -> None:
    """Print the heap of a page that plays a run, at its beginning and after so many minutes."""
    context = browser.new_context(base_url=stack.origin)
    page = context.new_page()
    session = context.new_cdp_session(page)
    page.goto(f"/?run={run}&view=play&speed=4")
    page.wait_for_selector(".stage [data-connection=live]")
    page.keyboard.press("Space")

    def used() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

    page.wait_for_function("() => Number(document.querySelector('.stage').dataset.seq) > 600")
    before = used()
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        page.wait_for_timeout(5000)
    stage = page.eval_on_selector(".stage", "element => ({...element.dataset})")
    print(f"heap {before:.1f} MB at the beginning, {used():.1f} MB after {minutes:g} minutes of playback; ", end="")
    print(f"{stage['frames']} frames, {stage['candles']} candles, imbalance {stage['imbalance']}")
    context.close()


def main() -> int:
    """Build the page, start a stack, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rest", type=float, default=250)
    chosen = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("left out: there is no Chromium")
        return 0
    subprocess.run([sys.executable, str(ROOT / "tools/page.py"), "--needed"], check=True)  # noqa: S603  ours
    options = StackOptions(environment={"*": {"BFF_ADMIN_TOKEN": TOKEN}})
    with Stack(options) as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        items = ask(stack, "/backtests?limit=100")["items"]
        year = {"symbol": "AAPL", "run_from": "2024-01-01", "run_to": "2024-12-31"}
        run = next(item["run_id"] for item in items if year.items() <= item.items())
        for rest_ms in (0.0, chosen.rest) if chosen.times else ():
            compare(browser, stack, run, chosen.times, rest_ms)
        if chosen.minutes:
            heap(browser, stack, run, chosen.minutes)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
