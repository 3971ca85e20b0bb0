"""The README's moving picture: a playback that goes on while the backend is killed and comes back.

`SCREENSHOTS=1 make test-slow ARGS=tests/browser/test_animation.py` writes `docs/images/outage.gif`.
"""

import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from bff_tools import Stack
from tests.browser.conftest import ROOT, TOKEN
from tests.support.dashboard import YEAR_RUN, assert_balanced, eventually, facts, find_run, frames_read, open_player

pytestmark = pytest.mark.slow

PICTURE = ROOT / "docs/images/outage.gif"
SIZE: ViewportSize = {"width": 800, "height": 640}
FRAME_MS = 160
STEPS = 18
"""Pictures of each act: the backend runs, is dead, runs again."""
COLOURS = 64
MOST_BYTES = 1_500_000
ENOUGH = 90_000
"""Source frames that the relay has before the backend dies: more than are played meanwhile."""

CAPTION = """text => {
  const made = () => {
    const element = document.body.appendChild(document.createElement("div"));
    Object.assign(element.style, {
      position: "fixed", left: "50%", top: "8px", translate: "-50%", padding: "4px 14px",
      borderRadius: "6px", zIndex: 9, color: "#fff", font: "600 15px system-ui, sans-serif",
    });
    element.id = "caption";
    return element;
  };
  const caption = document.getElementById("caption") ?? made();
  caption.textContent = text;
  caption.style.background = text.includes("killed") ? "#b3261e" : "#1b7f4b";
}"""


class Film:
    """Pictures of a page, kept as colours of one palette."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._pictures: list[Image.Image] = []

    def take(self, count: int) -> None:
        """Take pictures, each of what is on the screen when the one before is done."""
        for _ in range(count):
            png = self._page.screenshot(animations="allow")
            self._pictures.append(Image.open(io.BytesIO(png)).convert("RGB"))

    def save(self, path: Path) -> None:
        """Write an animation without end, in one palette that has the colours of every act."""
        width, height = self._pictures[0].size
        acts = Image.new("RGB", (width, height * 3))
        for act in range(3):
            acts.paste(self._pictures[(act + 1) * STEPS - 1], (0, act * height))
        palette = acts.quantize(COLOURS)
        first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in self._pictures)
        first.save(path, save_all=True, append_images=others, duration=FRAME_MS, loop=0, optimize=True)


@contextmanager
def dark_page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open a page of the picture's size in the dark theme."""
    context = browser.new_context(base_url=stack.origin, viewport=SIZE, color_scheme="dark", bypass_csp=True)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def test_playback_goes_on_while_the_backend_is_killed_and_comes_back(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    run = find_run(stack.backend_url, **YEAR_RUN)
    with dark_page(browser, stack) as page:
        open_player(page, run, "&speed=60")
        film = Film(page)
        page.evaluate("document.querySelector('.stage').scrollIntoView()")
        page.evaluate("scrollBy(0, -56)")
        page.evaluate(CAPTION, "backend running")
        eventually(page, lambda: frames_read(stack.origin, TOKEN) >= ENOUGH, 60)
        page.keyboard.press("Space")
        seen = [0]
        acts: list[tuple[str, Callable[[], object]]] = [
            ("backend running", lambda: None),
            ("backend killed", stack["backend"].kill),
            ("backend running again", stack["backend"].start),
        ]
        for text, act in acts:
            act()
            page.evaluate(CAPTION, text)
            film.take(STEPS)
            seen.append(int(facts(page, ".stage")["seq"]))
        stack["backend"].wait_ready()
        assert all(later > earlier for earlier, later in itertools.pairwise(seen)), seen
        assert_balanced(page)
        expect(page.locator("[data-connection]").first).to_have_attribute("data-side", "bff")
    path = PICTURE if os.environ.get("SCREENSHOTS") else tmp_path / PICTURE.name
    film.save(path)
    assert path.stat().st_size < MOST_BYTES
