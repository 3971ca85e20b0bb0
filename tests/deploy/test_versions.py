"""Each service has one version, wherever it is told."""

import json
import re
import tomllib
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import httpx
import pytest
import yaml

from bff_aggregator.app import create_app as create_aggregator
from bff_aggregator.settings import AggregatorSettings
from bff_proxy.app import create_app as create_proxy
from bff_proxy.settings import ProxySettings
from bff_tools import SERVICES
from bff_tools.origin import ROOT
from bff_wsrelay.app import create_app as create_relay
from bff_wsrelay.settings import RelaySettings
from tests.support.manifests import ENVIRONMENTS, KUBERNETES, of_kind, pod_of

FOLDERS = {**{name: f"services/{name}" for name in SERVICES}, "demo": "demo", "nginx": "."}
APPS: dict[str, Callable[[], Any]] = {
    "proxy": lambda: create_proxy(ProxySettings()),
    "aggregator": lambda: create_aggregator(AggregatorSettings()),
    "wsrelay": lambda: create_relay(RelaySettings()),
}


def declared(part: str) -> str:
    project = tomllib.loads((ROOT / FOLDERS[part] / "pyproject.toml").read_text())["project"]
    found: str = project["version"]
    return found


@pytest.mark.parametrize("part", FOLDERS)
def test_the_image_says_the_version_of_what_is_in_it(part: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services[part]["build"]["args"]["VERSION"] == declared(part)
    assert services[part]["build"]["args"]["REVISION"] == "${REVISION:-unknown}"
    for dockerfile in ("deploy/Dockerfile", "deploy/nginx/Dockerfile"):
        text = (ROOT / dockerfile).read_text()
        for label in ("version", "revision"):
            assert f'org.opencontainers.image.{label}="${{{label.upper()}}}"' in text


def test_the_manifests_name_the_images_of_those_versions() -> None:
    images = yaml.safe_load((KUBERNETES / "base/kustomization.yaml").read_text())["images"]
    tags = {image["name"]: image["newTag"] for image in images}
    assert tags == {**{f"bff-{name}": declared(name) for name in SERVICES}, "bff-origin": declared("nginx")}


def test_the_page_has_the_version_of_the_origin() -> None:
    locked = json.loads((ROOT / "frontend/package-lock.json").read_text())["packages"]
    page = json.loads((ROOT / "frontend/dashboard/package.json").read_text())
    client = json.loads((ROOT / "frontend/client/package.json").read_text())
    assert page["version"] == locked["dashboard"]["version"] == declared("nginx")
    assert client["version"] == locked["client"]["version"]


def test_the_changelog_begins_with_what_is_not_released_or_with_a_version_that_a_part_has() -> None:
    newest = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    titles = [re.escape(declared("nginx")), *(rf"{name} {re.escape(declared(name))}" for name in SERVICES)]
    assert newest == "Unreleased" or re.fullmatch(rf"(?:{'|'.join(titles)}), \d{{4}}-\d\d-\d\d", newest)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_says_where_the_images_are(environment: str) -> None:
    for part in (*SERVICES, "origin"):
        image = pod_of(of_kind(environment, "Deployment")[f"bff-{part}"])["containers"][0]["image"]
        assert image.endswith(f"/bff-{part}:{declared(part if part in SERVICES else 'nginx')}")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_running_service_says_its_version(service: str, start_app: Callable[[Any], Awaitable[str]]) -> None:
    assert version(f"bff-{service}") == declared(service)
    url = await start_app(APPS[service]())
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.get("/health")).json()["version"] == declared(service)
        assert (await client.get(f"/api/v1/openapi/{service}.json")).json()["info"]["version"] == declared(service)
        metrics = (await client.get("/metrics")).text
    assert re.findall(r'bff_build_info\{[^}]*version="([^"]+)"[^}]*\} 1\.0', metrics) == [declared(service)]
