"""The container files agree with the packages and with what `make run` does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bff_tools.nginx import ConfigurationError, origin_lines, policy_text, split_backend, trusted_lines
from bff_tools.origin import ROOT, TEMPLATE, backend_servers

ENTRYPOINT = ROOT / "deploy/nginx/entrypoint.sh"
COMPOSE = (ROOT / "docker-compose.yml").read_text()
NAMES = set(re.findall(r"\$\{([A-Z_]+)\}", TEMPLATE.read_text()))

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")


def values_of(tmp_path: Path, version: str = "1.28.0", **settings: str) -> dict[str, str]:
    """Run the container's entrypoint up to where it would start nginx; return what it exports for the template."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "nginx").write_text(f"#!/bin/sh\necho 'nginx version: nginx/{version}' >&2\n")
    (programs / "nginx").chmod(0o755)
    script = tmp_path / "entrypoint.sh"
    script.write_text(ENTRYPOINT.read_text().replace("/docker-entrypoint.sh", "env -0"))
    done = subprocess.run(  # noqa: S603  our own script
        ["/bin/sh", str(script)],
        env={"PATH": f"{programs}:/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    if done.returncode:
        return {"error": done.stderr}
    pairs = (pair.partition("=") for pair in done.stdout.split("\0") if pair)
    return {name: value for name, _, value in pairs if name in NAMES}


def test_the_entrypoint_has_a_value_for_every_name_of_the_template(tmp_path: Path) -> None:
    assert set(values_of(tmp_path, BACKEND_URL="http://127.0.0.1:8000")) == NAMES


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://127.0.0.1/",
        "https://127.0.0.1",
        "http://[::1]:8000",
        "http://[::1]",
        "http://localhost:1",
    ],
)
def test_the_entrypoint_splits_a_backend_as_the_launcher_does(tmp_path: Path, url: str) -> None:
    values = values_of(tmp_path, BACKEND_URL=url, NGINX_TLS_VERIFY="off")
    expected = split_backend(url)
    assert (values["BACKEND_SCHEME"], values["BACKEND_AUTHORITY"], values["BACKEND_HOST"]) == expected[:3]
    host = f"[{expected.host}]" if ":" in expected.host else expected.host
    # A client can make the backend break its connection off, which must keep nobody else from one of its addresses.
    assert values["BACKEND_SERVERS"] == f"server {host}:{expected.port} max_fails=0; "
    assert backend_servers(expected, can_resolve=False)[0] == f"server {host}:{expected.port} max_fails=0;"


@pytest.mark.parametrize(
    "origins",
    [
        "",
        "*",
        "https://app.example",
        "https://app.example, http://[::1]:5173",
        "https://*.app.example:8443,*",
        "chrome-extension://abc",
    ],
)
def test_the_entrypoint_knows_readers_of_errors_as_the_launcher_does(tmp_path: Path, origins: str) -> None:
    values = values_of(tmp_path, BACKEND_URL="http://127.0.0.1:1", BFF_ALLOWED_ORIGINS=origins)
    expected = origin_lines([word.strip() for word in origins.split(",") if word.strip()])
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("odd", ["app.example", "https://", "https://a/b", 'https://a"b', "https://a;b", "https://$a"])
def test_an_origin_that_is_none_is_refused_by_name(tmp_path: Path, odd: str) -> None:
    told = values_of(tmp_path, BACKEND_URL="http://127.0.0.1:1", BFF_ALLOWED_ORIGINS=odd)
    assert told["error"].startswith("error: BFF_ALLOWED_ORIGINS")
    with pytest.raises(ConfigurationError, match="is not an origin"):
        origin_lines([odd])


def test_the_entrypoint_serves_another_frontend_as_the_launcher_does(tmp_path: Path) -> None:
    url = {"BACKEND_URL": "http://127.0.0.1:1"}
    names = ("NGINX_ROOT", "NGINX_FALLBACK", "NGINX_CSP")
    ours = values_of(tmp_path, **url)
    assert [ours[name] for name in names] == ["/usr/share/nginx/bff", "", ""]
    assert "holds no index.html" in values_of(tmp_path, FRONTEND_DIR=str(tmp_path), **url)["error"]
    (tmp_path / "index.html").write_text("<!doctype html>")
    other = values_of(tmp_path, FRONTEND_DIR=str(tmp_path), FRONTEND_CSP="default-src 'self'", **url)
    assert [other[name] for name in names] == [str(tmp_path), "/index.html", "default-src 'self'"]


@pytest.mark.parametrize("odd", ['default-src "x"', "a $b", "a \\ b", "a\nb", "a\tb", "ä"])
def test_a_policy_that_is_none_is_refused_by_name(tmp_path: Path, odd: str) -> None:
    told = values_of(tmp_path, BACKEND_URL="http://127.0.0.1:1", FRONTEND_CSP=odd)
    assert told["error"].startswith("error: FRONTEND_CSP: ")
    with pytest.raises(ConfigurationError, match=r"FRONTEND_CSP: .* is not a policy"):
        policy_text(odd)


def test_the_entrypoint_takes_the_proxy_protocol_as_the_launcher_does(tmp_path: Path) -> None:
    settings = {"NGINX_PROXY_LISTEN": "8081", "NGINX_TRUSTED_PROXIES": "10.0.0.0/8"}
    values = values_of(tmp_path, BACKEND_URL="http://127.0.0.1:1", **settings)
    assert values["NGINX_PROXY"] == "listen 8081 proxy_protocol;"
    assert (values["NGINX_REAL_IP"], values["NGINX_TRUSTED"]) == trusted_lines(["10.0.0.0/8"], proxy_protocol=True)
    told = values_of(tmp_path, BACKEND_URL="http://127.0.0.1:1", NGINX_PROXY_LISTEN="8081")
    assert told["error"].startswith("error: NGINX_PROXY_LISTEN needs NGINX_TRUSTED_PROXIES")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://a", "http://", "http://a/base", "http://user@a", "http://a b", "http://$a"]
)
def test_the_entrypoint_refuses_what_the_launcher_refuses(tmp_path: Path, url: str) -> None:
    told = values_of(tmp_path, BACKEND_URL=url)
    assert told["error"].startswith("error: BACKEND_URL ")
    assert told["error"].count("\n") == 1


def test_names_are_followed_where_nginx_can_follow_them(tmp_path: Path) -> None:
    settings = {"BACKEND_URL": "http://127.0.0.1:8000", "WSRELAY_UPSTREAM": "one.invalid:1 127.0.0.1:2 localhost:3"}
    new = values_of(tmp_path, "1.27.3", **settings)
    follows = bool(new["NGINX_RESOLVER"])
    assert re.findall(r"server (\S+) [^;]*?( resolve)?;", new["WSRELAY_SERVERS"]) == [
        ("one.invalid:1", " resolve" if follows else ""),
        ("127.0.0.1:2", ""),
        ("localhost:3", ""),
    ]
    for version, more in (("1.27.2", {}), ("1.22.1", {}), ("1.28.0", {"NGINX_RESOLVE": "off"})):
        old = values_of(tmp_path, version, **settings, **more)
        assert old["NGINX_RESOLVER"] == ""
        assert "resolve" not in old["WSRELAY_SERVERS"]


def test_an_unknown_backend_does_not_keep_an_old_nginx_from_starting(tmp_path: Path) -> None:
    assert (
        values_of(tmp_path, "1.22.1", BACKEND_URL="http://nobody.invalid")["BACKEND_SERVERS"]
        == "server 127.0.0.1:1 down;"
    )


def test_every_part_of_the_compose_file_has_its_lock() -> None:
    for name in re.findall(r"SERVICE: (\w+)", COMPOSE):
        assert "--hash=sha256:" in (ROOT / f"requirements/{name}.txt").read_text()


# ── The compose file ──

PARTS = yaml.safe_load(COMPOSE)["services"]
ORIGINS = ("nginx", "tls")


@pytest.mark.parametrize("name", ORIGINS)
def test_the_origin_starts_whatever_the_services_do(name: str) -> None:
    assert {need["condition"] for need in PARTS[name]["depends_on"].values()} == {"service_started"}


@pytest.mark.parametrize("name", PARTS)
def test_every_container_starts_again_is_looked_after_and_has_its_bounds(name: str) -> None:
    part = PARTS[name]
    assert part["restart"] == "unless-stopped"
    # The recipe of the Python images has one as well, which counts where nothing else is said.
    assert part["healthcheck"]["test"][0] == "CMD"
    assert re.fullmatch(r"\d+[mg]", part["mem_limit"])
    assert part["pids_limit"] <= 200
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]


def test_a_container_has_the_memory_of_its_pod() -> None:
    for name, pod in (("proxy", "proxy"), ("aggregator", "aggregator"), ("wsrelay", "wsrelay"), ("nginx", "origin")):
        text = (ROOT / f"deploy/k8s/base/{pod}.yaml").read_text()
        found = re.search(r"limits: \{ memory: (\d+[MG])i \}", text)
        assert found is not None
        assert PARTS[name]["mem_limit"] == found[1].lower()


def test_the_origin_may_take_the_time_that_its_streams_have() -> None:
    found = re.search(r"^worker_shutdown_timeout (\d+)s;", (ROOT / "deploy/nginx/nginx.conf").read_text(), re.MULTILINE)
    assert found is not None
    assert int(PARTS["nginx"]["stop_grace_period"].removesuffix("s")) > int(found[1])


def test_the_origin_with_a_certificate_differs_in_nothing_else() -> None:
    plain, tls = PARTS["nginx"], PARTS["tls"]
    added = {"NGINX_TLS_CERTIFICATE": "/etc/bff/tls/tls.crt", "NGINX_TLS_KEY": "/etc/bff/tls/tls.key"}
    assert tls["environment"] == {**plain["environment"], **added}
    assert tls["profiles"] == ["tls"]
    assert {key for key in {*plain, *tls} if plain.get(key) != tls.get(key)} == {
        "environment",
        "ports",
        "profiles",
        "volumes",
    }


# ── The images ──


def test_code_and_dependencies_are_layers_of_their_own() -> None:
    stages = re.split(r"^FROM ", (ROOT / "deploy/Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    by_name = {stage.partition("\n")[0].partition(" AS ")[2]: stage for stage in stages}
    assert re.findall(r"^COPY (\S+)", by_name["dependencies"], re.MULTILINE) == ["requirements/${SERVICE}.txt"]
    assert "COPY services services" not in by_name["code"], "a change of one service would build the others anew"
    assert re.findall(r"^COPY --from=(\w+)", by_name[""], re.MULTILINE) == ["dependencies", "code"]
    assert "uninstall --yes --quiet flit-core" in by_name["dependencies"]


def test_every_service_finds_its_folder_in_the_recipe() -> None:
    for part in PARTS.values():
        arguments = part.get("build", {}).get("args", {})
        if service := arguments.get("SERVICE"):
            assert (ROOT / arguments.get("FOLDER", f"services/{service}") / "pyproject.toml").exists()


@pytest.mark.parametrize(("given", "workers"), [("", "2"), ("auto", "auto"), ("6", "6")])
def test_nginx_starts_as_many_workers_as_it_is_told(tmp_path: Path, given: str, workers: str) -> None:
    assert started(tmp_path, NGINX_WORKERS=given).stdout.split("\n")[:5] == [
        "nginx",
        "-e",
        "stderr",
        "-g",
        f"worker_processes {workers};",
    ]


@pytest.mark.parametrize("odd", ["0", "-1", "many", "100", "2; user root"])
def test_a_number_of_workers_that_is_none_is_refused_by_name(tmp_path: Path, odd: str) -> None:
    done = started(tmp_path, NGINX_WORKERS=odd)
    assert done.returncode == 1
    assert done.stderr == f"error: NGINX_WORKERS '{odd}' is not a number from 1 to 99, nor auto\n"


def started(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the entrypoint with the command of the image; what it would start is printed, a word a line."""
    script = tmp_path / "entrypoint.sh"
    script.write_text(ENTRYPOINT.read_text().replace("exec /docker-entrypoint.sh", "printf '%s\\n'"))
    (tmp_path / "nginx").write_text("#!/bin/sh\necho 'nginx version: nginx/1.28.0' >&2\n")
    (tmp_path / "nginx").chmod(0o755)
    command = re.search(r"^CMD \[(.+)\]$", (ROOT / "deploy/nginx/Dockerfile").read_text(), re.MULTILINE)
    assert command is not None
    words = [word.strip(' "') for word in command[1].split(",")]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BACKEND_URL": "http://127.0.0.1:1", **settings}
    return subprocess.run(  # noqa: S603  our own script
        ["/bin/sh", str(script), *words], env=environment, capture_output=True, text=True, check=False, timeout=20
    )
