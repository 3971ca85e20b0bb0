"""Another single-page application at the origin, in a browser: the way its bundler made it, nothing changed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from bff_tools import Stack, StackOptions
from bff_tools.ports import free_ports
from tests.integration.standin import StandIn

pytestmark = pytest.mark.slow

INDEX = """<!doctype html><title>another</title><style>h1 { color: rgb(1, 2, 3) }</style>
<h1></h1><a href="/runs/BRK.B-7">a run</a><p></p><script type="module" src="/assets/app.js"></script>"""
SELF = "default-src 'self'"
SCRIPT = """
const show = async () => {
  document.querySelector("h1").textContent = location.pathname;
  const answer = await fetch(`/backtests${location.pathname.replace("/runs", "")}`);
  document.querySelector("p").textContent = (await answer.json()).target;
};
document.querySelector("a").addEventListener("click", (event) => {
  event.preventDefault();
  history.pushState(null, "", event.target.getAttribute("href"));
  show();
});
addEventListener("popstate", show);
show();
"""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Return a function that serves the application under a policy, at a port of its own, and returns the URL."""
    folder = tmp_path_factory.mktemp("another")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text(INDEX)
    (folder / "assets/app.js").write_text(SCRIPT)
    with ExitStack() as owned:
        backend = StandIn("backend", free_ports(1)[0]).start()
        owned.callback(backend.stop)
        nobody = {name: ["127.0.0.1:1"] for name in ("proxy", "aggregator", "wsrelay")}
        yield (
            lambda policy: (
                owned.enter_context(
                    Stack(
                        StackOptions(
                            backend_url=f"http://{backend.address}",
                            upstreams=nobody,
                            redis=False,
                            frontend=Path(folder),
                            frontend_csp=policy,
                        )
                    )
                ).origin
            )
        )


def _shows_the_run(page: Page) -> None:
    expect(page.locator("h1")).to_have_text("/runs/BRK.B-7")
    expect(page.locator("p")).to_have_text("/backtests/BRK.B-7")
    expect(page.locator("h1")).to_have_css("color", "rgb(1, 2, 3)")


def test_clicks_reloads_and_deep_links_show_the_same(browser: Browser, serve: Callable[[str], str]) -> None:
    page = browser.new_page()
    page.goto(f"{serve('')}/")
    expect(page.locator("h1")).to_have_text("/")
    page.click("a")
    _shows_the_run(page)
    page.reload()
    _shows_the_run(page)
    page.goto(page.url)
    _shows_the_run(page)
    page.go_back()
    expect(page.locator("h1")).to_have_text("/")
    page.close()


def test_a_policy_that_is_set_holds(browser: Browser, serve: Callable[[str], str]) -> None:
    page = browser.new_page()
    page.goto(f"{serve(SELF)}/runs/7")
    expect(page.locator("h1")).to_have_text("/runs/7")
    expect(page.locator("h1")).to_have_css("color", "rgb(0, 0, 0)")
    page.close()
