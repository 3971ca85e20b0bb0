import re
from pathlib import Path

import pytest

from bff_tools import nginx
from bff_tools.nginx import BackendAddress, ConfigurationError, RouteMap
from bff_tools.origin import TEMPLATE

ROUTES = RouteMap(
    listen="127.0.0.1:8080",
    root=Path("/srv/a page"),
    proxy=["127.0.0.1:1"],
    aggregator=["127.0.0.1:2", "127.0.0.1:3"],
    wsrelay=["127.0.0.1:4"],
    backend=BackendAddress("http", "127.0.0.1:5", "127.0.0.1", 5),
    backend_servers="server 127.0.0.1:5;",
)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://127.0.0.1:8000", ("http", "127.0.0.1:8000", "127.0.0.1", 8000)),
        ("http://127.0.0.1:8000/", ("http", "127.0.0.1:8000", "127.0.0.1", 8000)),
        ("https://api.example", ("https", "api.example", "api.example", 443)),
        ("http://api.example", ("http", "api.example", "api.example", 80)),
        ("https://[::1]:8443", ("https", "[::1]:8443", "::1", 8443)),
        ("http://[fe80::1]", ("http", "[fe80::1]", "fe80::1", 80)),
    ],
)
def test_a_backend_is_split_into_its_parts(url: str, parts: tuple[str, str, str, int]) -> None:
    assert nginx.split_backend(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://a",
        "http://",
        "http://a:port",
        "http://a:70000",
        "http://a/base",
        "http://a?x",
        "http://user:pass@a",
        "http://a;b",
        "http://$host",
        "http://a{b",
    ],
)
def test_a_backend_that_nginx_could_not_take_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="backend URL"):
        nginx.split_backend(url)


def test_names_in_capitals_are_filled_in_and_nginx_keeps_its_own() -> None:
    text = "listen ${PORT}; set $a ${b}$PORT;"
    assert nginx.render(text, {"PORT": "80"}) == "listen 80; set $a ${b}$PORT;"


def test_a_name_without_value_is_told() -> None:
    with pytest.raises(ConfigurationError, match="NGINX_SURPRISE"):
        nginx.render("${NGINX_SURPRISE}", {})


def test_the_route_map_has_a_value_for_every_name_and_a_name_for_every_value() -> None:
    names = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)\}", TEMPLATE.read_text()))
    assert names == set(ROUTES.values())


def test_every_replica_is_a_server() -> None:
    assert ROUTES.values()["AGGREGATOR_SERVERS"].count("server 127.0.0.1:") == 2
    assert nginx.server_lines(["a:1"], resolve=True).endswith(" resolve;")
    with pytest.raises(ConfigurationError):
        nginx.server_lines([])


@pytest.mark.parametrize("path", ["/a$b", "/a\nb"])
def test_a_path_that_nginx_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError):
        nginx.quoted(path)


def test_a_path_with_spaces_and_quotes_is_one_word() -> None:
    assert nginx.quoted('/a b"c') == '"/a b\\"c"'


@pytest.mark.parametrize(
    ("banner", "version"),
    [("nginx version: nginx/1.31.3\n", (1, 31, 3)), ("nginx version: nginx/1.22.1 (Debian)", (1, 22, 1))],
)
def test_the_version_is_read(banner: str, version: tuple[int, int, int]) -> None:
    assert nginx.parse_version(banner) == version


def test_a_banner_without_version_is_told() -> None:
    with pytest.raises(ConfigurationError):
        nginx.parse_version("bash: no such file")


def test_name_servers_become_a_resolver() -> None:
    text = "# nameserver 9.9.9.9\nsearch example\nnameserver 127.0.0.11\n nameserver fd00::1\noptions ndots:0\n"
    assert nginx.resolver_line(text) == "resolver 127.0.0.11 [fd00::1] valid=5s; resolver_timeout 2s;"
    assert nginx.resolver_line("search example\n") == ""


def test_nginx_keeps_its_files_under_one_folder() -> None:
    conf = nginx.main_conf(Path("/run dir"), Path("/run dir/routes.conf"), user="me us", files=512)
    assert set(re.findall(r'"([^"]*)"', conf)) == {
        *(f"/run dir/{name}" for name in ("nginx.pid", "nginx.lock", "routes.conf")),
        *(f"/run dir/{kind}" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
    }
    assert "user me us;" in conf
    assert "user" not in nginx.main_conf(Path("/r"), Path("/r/routes.conf"))
