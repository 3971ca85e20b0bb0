"""What `make lint` and `make deploy` ask of the manifests."""

import copy
import subprocess
import sys
from typing import Any

import pytest

from deploy.k8s import check, manifests
from tests.support.manifests import ENVIRONMENTS, KUBERNETES, built


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(KUBERNETES / "manifests.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  our own script


def test_every_environment_is_checked() -> None:
    assert manifests.ENVIRONMENTS == ENVIRONMENTS


def spoil(item: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        item = item[name]
    item[last] = value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("spec.minReadySeconds", "soon", "spec.minReadySeconds: 'soon' is not of type 'integer'"),
        ("spec.paralelism", 2, "'paralelism' was unexpected"),
        ("kind", "Deploymant", "Deploymant"),
    ],
)
def test_a_mistake_in_a_manifest_is_named(path: str, value: object, told: str) -> None:
    item = copy.deepcopy(next(item for item in built("staging") if item["kind"] == "Deployment"))
    assert check.problems([item]) == []
    spoil(item, path, value)
    found = check.problems([item])
    assert len(found) == len(check.VERSIONS)
    assert all(told in reason for reason in found)


def test_two_objects_of_one_name_are_named() -> None:
    item = next(item for item in built("staging") if item["kind"] == "Service")
    assert check.problems([item, item]) == [f"Service bff-staging/{item['metadata']['name']}: there are 2 of it"]


@pytest.mark.parametrize(
    ("part", "image"), [("proxy", "bff-proxy:latest"), ("nobody", f"bff-proxy@sha256:{0:064x}"), ("proxy", "a b")]
)
def test_what_cannot_be_deployed_is_refused(part: str, image: str) -> None:
    with pytest.raises(manifests.ManifestError):
        manifests.select(copy.deepcopy(built("staging")), part, image)


def test_a_refusal_is_one_line() -> None:
    done = run("staging", "proxy", "bff-proxy:latest")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: 'bff-proxy:latest' does not name an image's content")
    assert done.stderr.count("\n") == 1
