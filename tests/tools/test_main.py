import socket
from pathlib import Path

import pytest

from bff_tools import SERVICES, Stack, StackOptions, StartError
from bff_tools.__main__ import main, options_of, parse


def test_the_demo_is_started_unless_a_backend_is_named() -> None:
    assert options_of(parse([]), terminal=False).backend_url is None
    assert options_of(parse(["--backend-url", ""]), terminal=False).backend_url is None
    named = options_of(parse(["--port", "9000", "--backend-url", "http://h:1/"]), terminal=False)
    assert (named.origin_port, named.backend_url) == (9000, "http://h:1")


def test_tls_is_spoken_beside_where_a_port_is_given() -> None:
    assert options_of(parse([]), terminal=False).route_map == {}
    told = options_of(parse(["--tls-port", "9443"]), terminal=False).route_map["NGINX_TLS"]
    assert told.startswith("listen 127.0.0.1:9443 ssl; ssl_certificate ")
    assert ".local/tls/tls.crt" in told


def test_logs_are_for_people_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def formats(terminal: bool) -> str:
        return options_of(parse([]), terminal).environment["*"]["BFF_LOG_FORMAT"]

    assert (formats(True), formats(False)) == ("console", "json")
    monkeypatch.setenv("BFF_LOG_FORMAT", "json")
    assert formats(True) == "json"


def test_arguments_for_the_demo_are_passed_on() -> None:
    assert options_of(parse(["--demo=--faults", "--demo=--seed=7"]), terminal=False).demo_args == [
        "--access-log",
        "--faults",
        "--seed=7",
    ]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--port", "0"], "ORIGIN_PORT"),
        (["--port", "65536"], "ORIGIN_PORT"),
        (["--port", "http"], "ORIGIN_PORT"),
        (["--port", ""], "ORIGIN_PORT"),
        (["--backend-url", "localhost:8000"], "localhost:8000"),
        (["--backend-url", "http://a/base"], "http://a/base"),
    ],
)
def test_a_bad_argument_is_one_line(arguments: list[str], names: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("error: ")
    assert names in told
    assert told.count("\n") == 1


def test_a_taken_port_is_one_line_and_nothing_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bff_tools.__main__.ROOT", tmp_path)
    monkeypatch.setattr("bff_tools.__main__.end_on_signals", _never)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    told = capsys.readouterr()
    assert told.err == f"error: port {port} is already in use; choose another with ORIGIN_PORT=…\n"
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    elsewhere = {name: ["127.0.0.1:1"] for name in SERVICES}
    options = StackOptions(demo_args=["--no-such-argument"], upstreams=elsewhere, run_dir=tmp_path)
    stack = Stack(options)
    with pytest.raises(StartError, match=r"backend ended with status 2\n(.*\n)*.*--no-such-argument"):
        stack.start()
    assert stack.children == {}
    assert not (tmp_path / "nginx.pid").exists()


class _Never:
    def is_set(self) -> bool:
        return False


def _never() -> _Never:
    return _Never()


def test_another_frontend_is_served_where_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert options_of(parse([]), terminal=False).frontend is None
    monkeypatch.setenv("FRONTEND_DIR", str(tmp_path))
    monkeypatch.setenv("FRONTEND_CSP", "off")
    options = options_of(parse([]), terminal=False)
    assert (options.frontend, options.frontend_csp) == (tmp_path, "off")


def test_a_folder_without_an_application_is_refused_by_name(tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match=r"FRONTEND_DIR: .* holds no index.html"),
        Stack(StackOptions(frontend=tmp_path, redis=False)),
    ):
        pass
