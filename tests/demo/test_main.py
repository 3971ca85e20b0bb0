import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from httpx import _config as httpx_config
from websockets.sync.client import connect

from bff_demo.__main__ import main
from bff_demo.app import create_app
from bff_demo.options import Options, parse_tokens
from bff_demo.server import make_server

BEARER = {"Authorization": "Bearer tokA"}


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "bff_demo", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  this interpreter, our module
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.fullmatch(r"demo backend listening on (http://127\.0\.0\.1:\d+)\n", line)
            assert match, line
            yield process, match[1]
        finally:
            process.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_options_reach_it_and_a_signal_stops_it_with_sockets_open(stop: signal.Signals) -> None:
    with started("--faults", "--tokens", "alice=tokA") as (process, url):
        assert httpx.get(f"{url}/__faults").json() == {"rules": []}
        assert httpx.get(f"{url}/backtests").status_code == 401
        with connect(url.replace("http", "ws") + "/backtests/nope/ws", additional_headers=BEARER) as socket:
            socket.send("?")
            socket.recv(timeout=30)
            process.send_signal(stop)
            process.wait(timeout=30)
        assert process.returncode in (0, 130, -stop)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for option in (
        "host",
        "port",
        "seed",
        "protocol",
        "tokens",
        "faults",
        "load-delay",
        "running-seconds",
        "no-early-closes",
        "no-part-routes",
    ):
        assert f"--{option}" in text


@pytest.mark.parametrize("spec", ["alice", "=x", "alice=", ",", "alice=t,bob=t"])
def test_bad_tokens_are_refused_by_name_without_the_token(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--tokens", spec])
    assert "--tokens:" in capsys.readouterr().err


def test_tokens_come_from_a_file_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# users\nalice=tokA\n\nbob=tok=B\n")
    assert parse_tokens(str(file)) == {"alice": "tokA", "bob": "tok=B"}
    assert parse_tokens("alice=tokA, bob=tok=B") == {"alice": "tokA", "bob": "tok=B"}


def test_authentication_and_faults_are_off_by_default() -> None:
    assert (dict(Options().tokens), Options().faults) == ({}, False)


def test_clients_of_tests_let_go_of_an_idle_connection_long_before_a_server_does() -> None:
    server = make_server(create_app(Options()), "127.0.0.1", 0)
    assert httpx_config.DEFAULT_LIMITS.keepalive_expiry is not None
    assert 3 * httpx_config.DEFAULT_LIMITS.keepalive_expiry < server.config.timeout_keep_alive
