"""A real Chromium in front of a whole stack that serves the built page."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Response, expect, sync_playwright

from bff_tools import Stack, StackOptions
from tests.support.clocks import adjustable

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "token-of-the-browser-tests"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINES = {"BFF_CHART_TIMEOUT": "2.5", "BFF_RUN_TIMEOUT": "2.5"}
"""Longer than as delivered, because two more stacks and browsers share the cores, and half of the client's 5 s."""
BRIDGED = {"BFF_ACCESS_STALE_SECONDS": str(48 * 3600)}
"""An outage may last for as long as a test sets the clock forward, and what is cached may still be read."""

expect.set_options(timeout=20_000)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def lacking(what: str) -> None:
    """Skip where a newcomer's machine lacks something; fail where everything has to run."""
    if os.environ.get("CI"):
        pytest.fail(f"the browser tests need {what}")
    pytest.skip(f"the browser tests need {what}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium of this machine."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        lacking("Chromium, which is not installed")
    return str(found)


@pytest.fixture(scope="session")
def built_page() -> Path:
    """The folder of the page, built from the sources as they are."""
    command = [sys.executable, str(ROOT / "tools/page.py"), "--needed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603  our own script
    if done.returncode:
        lacking(f"Node 20.19 or newer to build the page ({done.stderr.strip() or 'none was found'})")
    return ROOT / "frontend/dashboard/dist"


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that sets the aggregator's wall clock."""
    return tmp_path_factory.mktemp("clock") / "hand"


@pytest.fixture(scope="module")
def stack(chromium: str, built_page: Path, clock: Path) -> Iterator[Stack]:
    """What `make run` starts, with faults to order, flags to change and a clock to set."""
    assert chromium
    options = StackOptions(
        demo_args=("--faults", "--load-delay", "0.3"),
        environment={"*": {"BFF_ADMIN_TOKEN": TOKEN}, "aggregator": adjustable(clock) | DEADLINES | BRIDGED},
        page=built_page,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BFF_")]:
            patch.delenv(name)
        with Stack(options) as running:
            yield running


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for the tests of a module, which has no test that runs in an event loop."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield running
        running.close()


@dataclass
class Complaints:
    """What went wrong in a page: exceptions, and requests for data that were broken off."""

    errors: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    answered: set[Request] = field(default_factory=set)

    def listen(self, page: Page) -> None:
        """Collect from now on.

        Chromium counts a 304 that the page itself asked for as broken off after its head, and an answer that is read as
        a stream as broken off at its end.
        """
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if "Content Security" in said.text else None)
        page.on("response", lambda answer: self.answered.add(answer.request) if self._is_whole(answer) else None)
        page.on("requestfailed", lambda request: None if request in self.answered else self.lost.append(request.url))

    @staticmethod
    def _is_whole(answer: Response) -> bool:
        """Tell whether what comes after an answer's head is nobody's loss: of a view the page asks for what lacks."""
        return answer.status == HTTPStatus.NOT_MODIFIED or "ndjson" in answer.headers.get("content-type", "")

    @property
    def data(self) -> list[str]:
        """Broken requests for charts and runs, over either side."""
        return [url for url in self.lost if "/flags" not in url]


@pytest.fixture
def complaints() -> Complaints:
    """What the pages of the test have complained about."""
    return Complaints()


@pytest.fixture
def page(browser: Browser, stack: Stack, complaints: Complaints) -> Iterator[Page]:
    """A page of a fresh browser profile at the stack's origin; no exception may be left at the end."""
    context = browser.new_context(base_url=stack.origin, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    opened = context.new_page()
    complaints.listen(opened)
    yield opened
    context.close()
    assert complaints.errors == []
