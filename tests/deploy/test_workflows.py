"""The workflows cover what the project consists of, and do what its Makefile does."""

import fnmatch
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
from deploy.pipeline import PARTS

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


def used_by(folder: Path) -> Iterator[Path]:
    """Return the files that kustomize reads for a folder."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    yield folder / "kustomization.yaml"
    named = [*kustomization.get("resources", []), *kustomization.get("components", [])]
    named += [patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
    for generator in kustomization.get("configMapGenerator", []):
        named += [*generator.get("envs", []), *generator.get("files", [])]
    for name in named:
        path = (folder / name).resolve()
        yield from used_by(path) if path.is_dir() else [path]


def copied_by(dockerfile: Path) -> Iterator[Path]:
    """Return what an image's recipe takes from the repository."""
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE):
        yield from (ROOT / source for source in sources.split() if "$" not in source)


def starts(name: str, path: Path) -> bool:
    """Tell whether a change of a file starts a workflow, as GitHub matches paths."""
    relative = path.relative_to(ROOT).as_posix()
    patterns = triggers(name)["push"]["paths"]
    return any(fnmatch.fnmatchcase(relative, pattern.replace("**", "*")) for pattern in patterns)


@pytest.mark.parametrize(("part", "workflow"), PARTS.items())
def test_everything_that_a_part_in_the_cluster_is_made_of_starts_its_workflow(part: str, workflow: str) -> None:
    made_of = {ROOT / "docker-compose.yml", ROOT / ".dockerignore", ROOT / "requirements/deploy.txt"}
    made_of |= set((ROOT / "deploy/k8s").glob("*.py"))
    for environment in ("staging", "production"):
        made_of |= set(used_by(ROOT / "deploy/k8s/overlays" / environment))
    others = {ROOT / f"deploy/k8s/base/{other}.yaml" for other in PARTS if other != part}
    if part == "origin":
        made_of |= {path for path in copied_by(ROOT / "deploy/nginx/Dockerfile") if path.is_file()}
        others.add(ROOT / "deploy/k8s/base/service.yaml")
    chain = [workflow, *(Path(use).stem for use in calls(workflow) if use.startswith("./"))]
    chain += [Path(use).stem for name in chain[1:] for use in calls(name) if use.startswith("./")]
    made_of |= {FOLDER / f"{name}.yml" for name in chain}
    assert [str(path) for path in sorted(made_of - others) if not starts(workflow, path)] == []


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
            assert list(ROOT.glob(path.removesuffix("/**"))), path


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


def test_only_what_was_tested_reaches_staging() -> None:
    for name in ("service", "frontend"):
        jobs = WORKFLOWS[name]["jobs"]
        assert jobs["image"]["needs"] == "test"
        assert jobs["staging"]["needs"] == "image"
        assert jobs["staging"]["with"]["environment"] == "staging"
        assert jobs["staging"]["with"]["image"] == "${{ needs.image.outputs.image }}"
        assert "production" not in jobs
    assert {path.name for path in ROOT.glob("deploy/k8s/overlays/*")} == {"staging", "production"}


def test_production_waits_for_the_whole_and_for_each_part() -> None:
    assert triggers("production")["workflow_run"] == {
        "workflows": ["whole", *PARTS.values()],
        "types": ["completed"],
        "branches": ["main"],
    }
    assert {WORKFLOWS[name]["name"] for name in ("whole", *PARTS.values())} == {"whole", *PARTS.values()}
    plan = WORKFLOWS["production"]["jobs"]["plan"]
    assert "github.ref == 'refs/heads/main'" in plan["if"]
    assert "github.event.workflow_run.event != 'pull_request'" in plan["if"]


def test_production_gets_one_part_after_the_other_and_stops_at_the_first_that_fails() -> None:
    jobs = WORKFLOWS["production"]["jobs"]
    assert list(jobs) == ["plan", *PARTS]
    before = ["plan"]
    for part in PARTS:
        needs = jobs[part]["needs"]
        assert ([needs] if isinstance(needs, str) else needs) == before
        assert f"needs.plan.outputs.{part} != ''" in jobs[part]["if"]
        # Without a function of its own a condition asks for success, and a part that is skipped has none.
        assert len(before) == 1 or jobs[part]["if"].startswith("!failure() && !cancelled() && ")
        assert jobs[part]["with"] == {
            "part": part,
            "environment": "production",
            "image": f"${{{{ needs.plan.outputs.{part} }}}}",
        }
        before = [*before, part]
    assert set(jobs["plan"]["outputs"]) == set(PARTS)


def test_deployments_to_one_environment_queue_up() -> None:
    assert WORKFLOWS["deploy"]["concurrency"] == {"group": "deploy-${{ inputs.environment }}", "queue": "max"}
    runs = [step for step in steps("deploy") if "run" in step]
    assert [step.get("if") for step in runs] == ["inputs.environment == 'production'", None]
    assert runs[0]["run"] == "make head"


def test_where_the_credentials_of_a_cluster_are_little_is_installed() -> None:
    assert re.findall(r"^([\w-]+)==", (ROOT / "requirements/deploy.txt").read_text(), re.MULTILINE) == ["pyyaml"]
    recipe = (ROOT / "Makefile").read_text().partition("\ndeploy:")[2].partition("\n\n")[0]
    assert "$(BOOTSTRAP) deploy" in recipe


def test_a_release_is_made_of_tags_that_releases_have() -> None:
    assert triggers("release")["push"] == {"tags": [f"{part}-*" for part in PARTS]}
    job = WORKFLOWS["release"]["jobs"]["publish"]
    assert job["permissions"] == {"contents": "write", "packages": "write"}
    assert [step["run"] for step in steps("release") if "run" in step] == ['make publish TAG="$GITHUB_REF_NAME"']


def test_images_are_named_in_small_letters_whoever_owns_the_repository() -> None:
    for step in steps("image"):
        assert not re.search(r"\$NAME|\$\{NAME\}", step.get("run", ""))


def test_secrets_go_no_further_than_where_they_are_used() -> None:
    for name in ("service", "frontend"):
        assert WORKFLOWS[name]["jobs"]["image"]["secrets"] == {"REGISTRY_TOKEN": "${{ secrets.REGISTRY_TOKEN }}"}
    mentioned = {name: set(re.findall(r"secrets\.(\w+)", (FOLDER / f"{name}.yml").read_text())) for name in WORKFLOWS}
    assert mentioned["image"] == {"REGISTRY_TOKEN"}
    assert mentioned["deploy"] == {"KUBECONFIG"}


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
