"""The workflows cover what the project consists of, and do what its Makefile does."""

import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bff_tools import SERVICES
from bff_tools.origin import ROOT

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
VERBS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
DEPENDABOT = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]


def triggers(name: str) -> dict[str, Any]:
    """Return what starts a workflow; YAML 1.1 reads its `on` as true."""
    found: dict[str, Any] = WORKFLOWS[name][True]
    return found


def steps(name: str) -> Iterator[dict[str, Any]]:
    for job in WORKFLOWS[name]["jobs"].values():
        yield from job.get("steps", [])


def calls(name: str) -> Iterator[str]:
    """Return what a workflow makes use of, actions and other workflows."""
    for job in WORKFLOWS[name]["jobs"].values():
        yield from [job["uses"]] if "uses" in job else []
    yield from (step["uses"] for step in steps(name) if "uses" in step)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", sorted(FOLDER.glob("*.yml"))),
        ("vendor.dependabot", [ROOT / ".github/dependabot.yml"]),
    ],
)
def test_the_files_fit_their_schemas(schema: str, files: list[Path]) -> None:
    checker = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    done = subprocess.run(  # noqa: S603  the locked one
        [checker, "--builtin-schema", schema, *files], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_services_workflows_locks_and_images_are_the_same_set() -> None:
    members = {path.parent.name for path in ROOT.glob("services/*/pyproject.toml")}
    assert members == set(SERVICES)
    called = {name for name in WORKFLOWS if "./.github/workflows/service.yml" in calls(name)}
    assert called == members
    assert {name for name in members if (ROOT / f"requirements/{name}.txt").exists()} == members
    built = {name: part["build"]["args"].get("SERVICE") for name, part in COMPOSE.items() if "build" in part}
    assert {name for name, service in built.items() if service == name} == members | {"demo"}
    assert {path.stem for path in ROOT.glob("deploy/k8s/base/*.yaml")} >= members


def test_the_services_workflows_differ_in_the_name_alone() -> None:
    texts = {(FOLDER / f"{name}.yml").read_text().replace(name, "SERVICE") for name in SERVICES}
    assert len(texts) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_built_when_something_that_it_is_made_of_changes(service: str) -> None:
    made_of = {f"services/{service}/**", "shared/**", f"requirements/{service}.txt", "deploy/Dockerfile"}
    for event in ("push", "pull_request"):
        paths = triggers(service)[event]["paths"]
        assert made_of <= set(paths)
        assert not [path for other in SERVICES if other != service for path in paths if other in path]
    assert WORKFLOWS[service]["jobs"][service]["with"] == {"service": service}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_paths_that_start_a_workflow_exist(name: str) -> None:
    for event in ("push", "pull_request"):
        for path in (triggers(name).get(event) or {}).get("paths", []):
            assert (ROOT / path.removesuffix("/**")).exists(), path


@pytest.mark.parametrize("name", WORKFLOWS)
def test_commands_are_those_of_the_makefile(name: str) -> None:
    for step in steps(name):
        lines = [line.strip() for line in step.get("run", "").splitlines()]
        verbs = [line.split()[1] for line in lines if line.startswith("make ")]
        assert set(verbs) <= VERBS
        # What is not a verb serves one: a file for its credentials, a signature on its result.
        assert all(line.split()[0] in {"make", "umask", "printf", "cosign", "echo"} or "=" in line for line in lines)


def test_everything_together_is_checked_by_the_verbs_that_contributors_use() -> None:
    assert {step["run"] for step in steps("whole") if "run" in step} == {
        "make lint",
        "make test-tools",
        "make test-all",
        "make audit",
    }
    assert {step["run"] for step in steps("frontend") if "run" in step} == {"make frontend"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_is_used_is_pinned_or_ours(name: str) -> None:
    for use in calls(name):
        if use.startswith("./"):
            assert (ROOT / use).is_file()
        else:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", use), use


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_no_more_than_it_needs(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    for job in WORKFLOWS[name]["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 60
    for step in steps(name):
        # Text of a request in a command would be run by the shell.
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_a_proposed_change_builds_has_no_right_to_write() -> None:
    jobs = WORKFLOWS["image"]["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    assert "github.event_name != 'pull_request'" in jobs["publish"]["if"]
    assert "github.ref == 'refs/heads/main'" in jobs["publish"]["if"]
    assert not [step for step in jobs["build"]["steps"] if "PUSH" in str(step) or "secrets." in str(step)]


def test_reusable_workflows_are_given_what_they_ask_for() -> None:
    for name, workflow in WORKFLOWS.items():
        for job in workflow["jobs"].values():
            if "uses" in job:
                inputs = triggers(Path(job["uses"]).stem)["workflow_call"]["inputs"]
                assert job["with"].keys() == inputs.keys(), name


def test_only_what_was_tested_is_deployed_and_staging_comes_first() -> None:
    for name in ("service", "frontend"):
        jobs = WORKFLOWS[name]["jobs"]
        assert jobs["image"]["needs"] == "test"
        assert jobs["staging"]["needs"] == "image"
        assert jobs["production"]["needs"] == ["image", "staging"]
        for environment in ("staging", "production"):
            assert jobs[environment]["with"]["environment"] == environment
            assert (ROOT / "deploy/k8s/overlays" / environment).is_dir()
            assert jobs[environment]["with"]["image"] == "${{ needs.image.outputs.image }}"


def test_images_are_built_by_parts_of_the_compose_file() -> None:
    assert WORKFLOWS["frontend"]["jobs"]["image"]["with"]["target"] == "nginx"
    assert "build" in COMPOSE["nginx"]
    assert WORKFLOWS["service"]["jobs"]["image"]["with"]["target"] == "${{ inputs.service }}"


def test_dependabot_looks_at_every_kind_of_dependency() -> None:
    folders = {
        (update["package-ecosystem"], folder)
        for update in DEPENDABOT
        for folder in update.get("directories", [update.get("directory")])
    }
    expected = {("pip", f"/{path.parent.relative_to(ROOT)}") for path in ROOT.glob("requirements/*.txt")} | {
        ("docker", "/deploy"),
        ("docker", "/deploy/nginx"),
        ("docker-compose", "/"),
        ("github-actions", "/"),
    }
    assert folders == expected | {("npm", "/frontend")}


def test_dependabot_can_read_what_images_are_made_from() -> None:
    for dockerfile in (ROOT / "deploy/Dockerfile", ROOT / "deploy/nginx/Dockerfile"):
        stages = set[str]()
        for image, stage in re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile.read_text(), re.MULTILINE):
            # It replaces no variables, and a tag has to be there for it to raise.
            assert image in stages or re.fullmatch(r"[\w./-]+:[\w.-]+", image), image
            stages.add(stage)
