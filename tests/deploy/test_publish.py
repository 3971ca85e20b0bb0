"""A tag becomes a release: the image of that commit, its bill of materials and the changelog's section."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.pipeline import PipelineError
from deploy.publish import PAUSE_SECONDS, WAIT_SECONDS, notes, publish, split

DIGEST = f"sha256:{1:064x}"
ENVIRONMENT = {"GITHUB_REPOSITORY": "Team/App", "GITHUB_SHA": "b" * 40, "IMAGES": "registry.example/Team"}
CHANGELOG = "# Changelog\n\n## proxy 0.3.0, 2030-01-02\n\n### Fixed\n\n- Mended it.\n\n## 0.2.0, 2030-01-01\n\nolder\n"


class FakeTools:
    """docker, cosign and gh; the image is there after so many questions for it."""

    def __init__(self, after: int = 0) -> None:
        self.after = after
        self.commands: list[str] = []
        self.released: dict[str, str] = {}

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(" ".join(command))
        if command[-1] == "{{json .Manifest}}":
            self.after -= 1
            if self.after >= 0:
                raise PipelineError("docker buildx imagetools: not found")
            return json.dumps({"digest": DIGEST})
        if command[-1] == "{{json .SBOM.SPDX}}":
            return '{"spdxVersion":"SPDX-2.3"}'
        if command[0] == "gh":
            self.released = {Path(word).name: Path(word).read_text() for word in command if word.startswith("/")}
        return ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path, text in {
        "CHANGELOG.md": CHANGELOG,
        "services/proxy/pyproject.toml": '[project]\nversion = "0.3.0"\n',
        "docker-compose.yml": "",
        "deploy/k8s/base/kustomization.yaml": "",
        "frontend/client/openapi/proxy.json": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_the_image_of_the_commit_gets_the_version_and_the_release_its_bill_of_materials(checkout: Path) -> None:
    tools = FakeTools()
    image = publish("proxy-0.3.0", ENVIRONMENT, checkout, tools)
    assert image == f"registry.example/team/bff-proxy@{DIGEST}"
    assert f"docker buildx imagetools create --tag registry.example/team/bff-proxy:0.3.0 {image}" in tools.commands
    assert tools.released == {
        "proxy-0.3.0.spdx.json": '{"spdxVersion":"SPDX-2.3"}',
        "notes.md": f"### Fixed\n\n- Mended it.\n\n`{image}`\n",
    }
    order = [command.split()[0] for command in tools.commands]
    assert order.index("cosign") < order.index("gh"), "its signature is looked at first"


def test_it_waits_for_the_image_and_not_for_ever(checkout: Path) -> None:
    slept: list[float] = []
    publish("proxy-0.3.0", ENVIRONMENT, checkout, FakeTools(after=3), slept.append)
    assert slept == [PAUSE_SECONDS] * 3
    with pytest.raises(PipelineError, match="not found"):
        publish("proxy-0.3.0", ENVIRONMENT, checkout, FakeTools(after=10_000), slept.append)
    assert sum(slept) <= WAIT_SECONDS + 3 * PAUSE_SECONDS


@pytest.mark.parametrize("tag", ["proxy-0.4.0", "nobody-1.0.0", "v1.0.0", "proxy"])
def test_a_tag_that_does_not_fit_the_code_is_refused(checkout: Path, tag: str) -> None:
    with pytest.raises(PipelineError):
        split(tag, checkout)


def test_each_version_has_its_own_section() -> None:
    assert notes("proxy", "0.3.0", CHANGELOG) == "### Fixed\n\n- Mended it.\n"
    assert notes("origin", "0.2.0", CHANGELOG) == "older\n"
    with pytest.raises(PipelineError, match=r"no section of proxy 0\.2\.0"):
        notes("proxy", "0.2.0", CHANGELOG)
