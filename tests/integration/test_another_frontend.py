"""Another single-page application at `/`: its routes are its own, ours stay as they are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bff_tools import Stack, StackOptions
from bff_tools.ports import free_ports
from tests.integration.standin import Client, MakeStack, StandIn

SERVICES = ("proxy", "aggregator", "wsrelay")
NAVIGATION = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
INDEX = '<!doctype html><title>another</title><script src="/assets/app-1a2b.js"></script>'


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bundlers make: an index, and assets whose names hold a digest."""
    folder = tmp_path_factory.mktemp("another") / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "assets/app-1a2b.js").write_text("document.title = location.pathname;\n")
    (folder / "assets/font.ttf").write_bytes(b"\0\1\0\0")
    (folder / "assets/app-B3x_9aQz.js").write_text("0;\n")
    (folder / "assets/calendar-Calendar.js").write_text("0;\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    return folder


@pytest.fixture(scope="module")
def options() -> Iterator[StackOptions]:
    """A stack of nginx alone, with a stand-in for each service and for the backend."""
    names = (*SERVICES, "backend")
    parts = {name: StandIn(name, port).start() for name, port in zip(names, free_ports(4), strict=True)}
    upstreams = {name: [parts[name].address] for name in SERVICES}
    yield StackOptions(backend_url=f"http://{parts['backend'].address}", upstreams=upstreams, redis=False)
    for part in parts.values():
        part.stop()


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack, options: StackOptions, application: Path) -> Stack:
    return make_stack(replace(options, frontend=application))


@pytest.fixture
def client(stack: Stack) -> Client:
    return Client(stack.origin_port)


@pytest.mark.parametrize(
    "path",
    ["/", "/runs", "/runs/575adf38", "/runs/BRK.B-2024-1m", "/runs/a%3Ab/orders?page=2", "/apidocs", "/backtest"],
)
def test_a_deep_link_and_a_reload_get_the_application(client: Client, path: str) -> None:
    answer = client.ask(path, NAVIGATION)
    assert (answer.status, answer.one("content-type")) == (200, "text/html; charset=utf-8")
    assert answer.body.decode() == INDEX
    assert answer.one("cache-control") == "no-cache"
    assert client.ask(path, NAVIGATION, f"If-None-Match: {answer.one('etag')}").status == 304
    assert client.ask(path, NAVIGATION, method="HEAD").status == 200


@pytest.mark.parametrize(
    ("path", "freshness"),
    [
        ("/assets/app-B3x_9aQz.js", "public, max-age=31536000, immutable"),
        ("/assets/calendar-Calendar.js", "no-cache"),
        ("/assets/app-1a2b.js", "no-cache"),
        ("/photo.jpg", "no-cache"),
    ],
)
def test_only_a_name_that_surely_holds_a_digest_lasts(client: Client, path: str, freshness: str) -> None:
    answer = client.ask(path)
    assert (answer.status, answer.one("cache-control")) == (200, freshness)
    again = client.ask(path, f"If-None-Match: {answer.one('etag')}")
    assert (again.status, again.one("cache-control")) == (304, freshness)


@pytest.mark.parametrize("path", ["/assets/app-0000.js", "/assets/gone.css", "/favicon.ico", "/app.js.map"])
@pytest.mark.parametrize("accept", ["Accept: */*", NAVIGATION])
def test_a_missing_asset_is_not_found(client: Client, path: str, accept: str) -> None:
    answer = client.ask(path, accept)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("accept", ["Accept: */*", "Accept: application/json", "X-None: 1"])
def test_what_asks_for_data_is_not_given_a_page(client: Client, accept: str) -> None:
    answer = client.ask("/runs", accept)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/api/v2/x", "/api", "/api/", "/health/other", "/.bff/error", "/.bff/none"])
def test_what_looks_like_ours_is_not_found_as_ever(client: Client, path: str) -> None:
    answer = client.ask(path, NAVIGATION)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/backtests/7", "backend"),
        ("/bars/daily", "backend"),
        ("/healthz", "backend"),
        ("/api/v1/backtests/7", "proxy"),
        ("/ofrep/v1/evaluate/flags", "proxy"),
        ("/api/v1/runs/7/complete", "aggregator"),
    ],
)
def test_our_paths_and_the_backends_stay_theirs(client: Client, path: str, who: str) -> None:
    assert client.ask(path, NAVIGATION).json()["who"] == who


def test_a_form_that_is_sent_to_a_route_is_no_navigation(client: Client) -> None:
    assert client.ask("/runs", NAVIGATION, method="POST", body=b"a=1").status == 405


@pytest.mark.parametrize(
    ("file", "kind"),
    [("assets/app-1a2b.js", "text/javascript"), ("assets/font.ttf", "font/ttf"), ("photo.jpg", "image/jpeg")],
)
def test_its_files_are_served_by_their_kind(client: Client, file: str, kind: str) -> None:
    answer = client.ask(f"/{file}")
    assert (answer.status, answer.one("content-type").partition(";")[0]) == (200, kind)


def test_its_policy_stops_nothing_that_a_build_usually_does(client: Client) -> None:
    policy = client.ask("/runs", NAVIGATION).one("content-security-policy")
    assert policy == "base-uri 'self'; object-src 'none'; frame-ancestors 'self'"


@pytest.mark.parametrize(
    "policy", ["default-src 'self'; connect-src 'self' http://127.0.0.1:8000; style-src 'self' 'unsafe-inline'"]
)
def test_the_policy_is_a_setting(make_stack: MakeStack, options: StackOptions, application: Path, policy: str) -> None:
    other = Client(make_stack(replace(options, frontend=application, frontend_csp=policy)).origin_port)
    assert other.ask("/runs/7", NAVIGATION).one("content-security-policy") == policy
    none = Client(make_stack(replace(options, frontend=application, frontend_csp="off")).origin_port)
    assert "content-security-policy" not in {name for name, _ in none.ask("/runs/7", NAVIGATION).headers}
    ours = Client(make_stack(replace(options, frontend_csp=policy)).origin_port)
    assert ours.ask("/").one("content-security-policy") == policy


def test_our_page_has_no_fallback(make_stack: MakeStack, options: StackOptions) -> None:
    ours = Client(make_stack(options).origin_port)
    assert ours.ask("/runs", NAVIGATION).status == 404
    assert "default-src 'none'" in ours.ask("/", NAVIGATION).one("content-security-policy")
