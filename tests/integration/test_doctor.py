"""`make doctor` in front of a whole stack that something stands before, rightly and in five wrong ways."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bff_tools import Stack, StackOptions, warm
from bff_tools.doctor import examine, expected_versions
from bff_tools.nginx import trusted_lines
from bff_tools.outside import Outside
from bff_tools.ports import free_ports, release_ports
from bff_tools.servers import find_nginx
from tests.integration.standin import MakeStack

pytestmark = pytest.mark.slow

FORWARDED = (
    "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Host $http_host; "
    "proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-For $remote_addr;"
)
UPGRADED = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_of;"
OLD = json.dumps({"services": {name: {"version": "0.0.9", "status": "ok"} for name in expected_versions()}})


@dataclass(frozen=True)
class Front:
    """What an nginx in front of the origin is told, right unless it says otherwise."""

    http2: str = "http2 on;"
    buffering: str = "proxy_buffering off;"
    upgrade: str = UPGRADED
    forwarded: str = FORWARDED
    more: str = ""

    def server(self, port: int, certificate: Path, key: Path, origin: str) -> str:
        return f"""server {{
            listen 127.0.0.1:{port} ssl; {self.http2}
            ssl_certificate {certificate}; ssl_certificate_key {key};
            proxy_http_version 1.1; {self.buffering} {self.upgrade} {self.forwarded}
            location / {{ proxy_pass {origin}; }}
            {self.more}
        }}"""


FRONTS = {
    "right": Front(),
    "buffering": Front(buffering="proxy_buffering on;"),
    "no upgrade": Front(upgrade=""),
    "wrong origin": Front(forwarded=""),
    "HTTP/1.1 only": Front(http2=""),
    "stale": Front(more=f"location = /health {{ default_type application/json; return 200 '{OLD}'; }}"),
}


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack) -> Stack:
    real_ip, trusted = trusted_lines(["127.0.0.0/8"])
    return make_stack(StackOptions(route_map={"NGINX_REAL_IP": real_ip, "NGINX_TRUSTED": trusted}))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost and its key, apart and together."""
    folder = tmp_path_factory.mktemp("fronts")
    certificate, key = folder / "tls.crt", folder / "tls.key"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)  # noqa: S603  built here
    (folder / "both.pem").write_text(certificate.read_text() + key.read_text())
    return folder


@pytest.fixture(scope="module")
def fronts(stack: Stack, certificates: Path) -> Iterator[dict[str, str]]:
    """One nginx with each of the fronts; their URLs."""
    folder = certificates
    certificate, key = folder / "tls.crt", folder / "tls.key"
    ports = free_ports(len(FRONTS))
    servers = "\n".join(
        front.server(port, certificate, key, stack.origin) for port, front in zip(ports, FRONTS.values(), strict=True)
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr warn; events {{ worker_connections 256; }} http {{ {temporary}"
        f'access_log off; map $http_upgrade $connection_of {{ default upgrade; "" ""; }} {servers} }}'
    )
    process = subprocess.Popen([find_nginx(), "-p", f"{folder}/", "-e", "stderr", "-c", str(folder / "nginx.conf")])  # noqa: S603  ours
    try:
        for port in ports:
            answers(port, process)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(certificate))
            assert ssl.create_default_context().get_ca_certs()
            yield {name: f"https://localhost:{port}" for name, port in zip(FRONTS, ports, strict=True)}
    finally:
        process.terminate()
        process.wait(20)
        release_ports(ports)


CADDY = """{{
    admin off
    auto_https off
    storage file_system {folder}/caddy
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls {folder}/tls.crt {folder}/tls.key
    reverse_proxy {origin}
}}
"""
HAPROXY = """defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend page
    bind 127.0.0.1:{port} ssl crt {folder}/both.pem alpn h2,http/1.1
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend origin
backend origin
    server origin {origin}
"""
OTHERS = {
    "caddy": (CADDY, ("run", "--adapter", "caddyfile", "--config")),
    "haproxy": (HAPROXY, ("-db", "-f")),
}


@pytest.mark.parametrize("program", OTHERS)
def test_others_in_front_need_no_setting_but_their_networks(
    stack: Stack, fronts: dict[str, str], certificates: Path, program: str
) -> None:
    """Their own pages' WebSockets too: what they say of scheme and host is believed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    assert fronts  # which has browsers on this machine trust the certificate
    template, arguments = OTHERS[program]
    (port,) = free_ports(1)
    origin = stack.origin.removeprefix("http://")
    (certificates / program).write_text(template.format(folder=certificates, port=port, origin=origin))
    process = subprocess.Popen(  # noqa: S603  as above
        [found, *arguments, str(certificates / program)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(certificates)},
    )
    try:
        answers(port, process)
        assert examine(Outside(f"https://localhost:{port}", 30), expected_versions(), event_seconds=30) == []
    finally:
        process.terminate()
        process.wait(30)
        release_ports([port])


def answers(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens on the port."""
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("nginx in front did not come up")


@pytest.mark.parametrize(
    ("front", "told", "remedy"),
    [
        ("buffering", ["event streams are held back: nothing within 3 s of what is sent"], "proxy_buffering off"),
        ("no upgrade", ["a WebSocket handshake is answered 426: it arrives without"], "Upgrade $http_upgrade"),
        ("wrong origin", ["WebSockets of the origin's own page ("], "NGINX_TRUSTED_PROXIES"),
        ("HTTP/1.1 only", ["only HTTP/1.1 is spoken: "], "http2 on;"),
        ("stale", [f"{name} is version 0.0.9, this checkout has " for name in expected_versions()], "make deploy"),
    ],
)
def test_each_wrong_setup_is_named_with_its_remedy(
    fronts: dict[str, str], front: str, told: list[str], remedy: str
) -> None:
    patience = 3 if front == "buffering" else 30
    found = examine(Outside(fronts[front], timeout=30), expected_versions(), event_seconds=patience)
    pairs = zip(found, told, strict=True)
    assert all(finding.what.startswith(begin) and remedy in finding.remedy for finding, begin in pairs), found


def test_a_right_setup_is_found_right(fronts: dict[str, str]) -> None:
    assert examine(Outside(fronts["right"], timeout=30), expected_versions(), event_seconds=30) == []


def test_a_stack_on_this_machine_has_notes_alone(stack: Stack) -> None:
    found = examine(Outside(stack.origin, timeout=30), expected_versions(), event_seconds=30)
    assert [finding.what.partition(":")[0] for finding in found] == ["without TLS browsers speak HTTP/1.1"]
    assert all(finding.is_note for finding in found)


def test_a_chart_that_was_warmed_is_there_for_the_next_who_asks(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTHORIZATION", raising=False)
    assert warm.main([stack.origin, "AAPL"]) == 0
    assert re.fullmatch(r"AAPL: warm after [\d.]+ s\n", capsys.readouterr().out)
    today = datetime.now(UTC).date()
    asked = Outside(stack.origin, 30).get(next(warm.paths("AAPL", today)))
    path = next(warm.paths("AAPL", warm.last_day(asked, today)))
    assert json.loads(Outside(stack.origin, 30).get(path).body)["metadata"]["backend_calls"] == 0


def test_a_certificate_that_nobody_vouches_for_is_named(
    fronts: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    protocols = Outside(fronts["right"], timeout=30).protocols()
    assert (protocols.alpn, bool(protocols.error)) == ("h2", True)
