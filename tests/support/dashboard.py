"""Words for what the browser tests do with the page."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Error, Page

from tests.support.stalls import Unsteady

YEAR_RUN = {"symbol": "AAPL", "run_from": "2024-01-01", "run_to": "2024-12-31"}
MONTH_RUN = {"symbol": "SPY", "run_from": "2024-06-01", "run_to": "2024-06-30"}


def ask(url: str, method: str = "GET", body: Any = None, token: str = "") -> Any:
    """Make a request and return its JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  an origin of ours
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  as above
        return json.loads(answer.read() or "null")


def find_run(backend: str, **fields: str) -> str:
    """Return the id of the run that has these fields; raises StopIteration if there is none."""
    items = ask(f"{backend}/backtests?limit=100")["items"]
    return str(next(item["run_id"] for item in items if fields.items() <= item.items()))


def facts(page: Page, selector: str) -> dict[str, str]:
    """Return the `data-` attributes of the first element that a selector finds."""
    found: dict[str, str] = page.eval_on_selector(selector, "element => ({...element.dataset})")
    return found


def until(page: Page, condition: str, argument: Any = None) -> None:
    """Wait until a JavaScript function of one argument is true in the page."""
    page.wait_for_function(condition, arg=argument)


def eventually(page: Page, holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait, with the page going on, until something holds that the page itself does not know."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come to hold in time"
        page.wait_for_timeout(50)


@contextmanager
def measured() -> Iterator[None]:
    """Say of a failure within that it is one of time, so that it is measured again."""
    try:
        yield
    except (AssertionError, Error) as error:
        raise Unsteady(str(error)) from error


def open_run(page: Page, run: str, rest: str = "") -> None:
    """Open a run's page and wait until its chart has bars and its equity is drawn."""
    page.goto(f"/?run={run}{rest}")
    page.wait_for_selector(".price .chart[data-bars]")
    page.wait_for_selector(".equity .chart")


def open_player(page: Page, run: str, rest: str = "") -> None:
    """Open a run's playback and wait until it is connected."""
    page.goto(f"/?run={run}&view=play{rest}")
    page.wait_for_selector(".stage [data-connection=live]")


def wait_for_flag(page: Page, key: str, value: bool) -> None:
    """Wait until a page has learnt what a flag is now."""
    known = "([key, value]) => JSON.parse(localStorage.getItem('bff-flags')).flags[key].value === value"
    until(page, known, [key, value])


def wait_for_chart(page: Page) -> None:
    """Wait until nothing of a chart is on its way."""
    until(page, "() => !document.querySelector('.price [role=status]').innerText.includes('loading')")


def wait_for_seq(page: Page, least: int) -> None:
    """Wait until the playback has come to a frame."""
    until(page, "least => Number(document.querySelector('.stage').dataset.seq) >= least", least)


def assert_balanced(page: Page) -> None:
    """Every frame up to the last one was covered exactly once: the sum of `n` is `seq - base`."""
    stage = facts(page, ".stage")
    assert (stage["imbalance"], stage["broken"]) == ("0", "0"), stage
    assert int(stage["covered"]) == int(stage["seq"]) - int(stage["base"]) > 0


def frames_read(origin: str, token: str) -> int:
    """Return how many frames the relay has of the run that it has most of."""
    return max((log["frames"] for log in ask(f"{origin}/api/v1/streams", token=token)["frame_logs"]), default=0)
