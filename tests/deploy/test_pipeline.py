"""What production may get, by what GitHub and the registry say."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from deploy.pipeline import PARTS, Pipeline, PipelineError, RefusedError, main, verdict

HEAD, OLD = "b" * 40, "a" * 40
DIGEST = f"sha256:{1:064x}"


def run_of(commit: str = HEAD, **differently: str) -> dict[str, str]:
    return {
        "head_sha": commit,
        "event": "push",
        "head_branch": "main",
        "status": "completed",
        "conclusion": "success",
    } | differently


class FakeWorld:
    """GitHub and a registry, as `gh`, `docker` and `cosign` show them."""

    def __init__(self) -> None:
        self.head = HEAD
        self.runs: dict[str, list[dict[str, Any]]] = {name: [run_of()] for name in ("whole", *PARTS.values())}
        self.is_signed = True
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(" ".join(command))
        if command[0] == "gh":
            if command[2] == "repos/Team/App/commits/main":
                return self.head + "\n"
            workflow = command[2].partition("/workflows/")[2].partition(".yml/runs?branch=main")[0]
            return json.dumps({"workflow_runs": self.runs[workflow]})
        if command[0] == "docker":
            return json.dumps({"digest": DIGEST})
        if not self.is_signed:
            raise PipelineError("cosign verify: no matching signatures")
        return ""


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def plan(world: FakeWorld, commit: str = HEAD) -> tuple[dict[str, str], list[str]]:
    return Pipeline("Team/App", "registry.example/Team", world).plan(commit)


def test_every_part_that_passed_gets_the_image_of_its_newest_run(world: FakeWorld) -> None:
    world.runs["aggregator"] = [run_of(OLD)]
    images, reasons = plan(world)
    assert images == {part: f"registry.example/team/bff-{part}@{DIGEST}" for part in PARTS}
    assert reasons == []
    asked = [command.split()[4] for command in world.commands if command.startswith("docker")]
    assert f"registry.example/team/bff-aggregator:{OLD}" in asked
    assert f"registry.example/team/bff-proxy:{HEAD}" in asked


def test_a_commit_that_main_has_left_behind_is_refused(world: FakeWorld) -> None:
    with pytest.raises(RefusedError, match=f"{OLD} is not the head of main"):
        plan(world, OLD)


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([], "has not run"),
        ([run_of(OLD)], "has not run"),
        ([run_of(status="in_progress", conclusion="")], "is still running"),
        ([run_of(conclusion="failure"), run_of()], "ended with failure"),
        ([run_of(conclusion="cancelled")], "ended with cancelled"),
        ([run_of(event="schedule")], "has not run"),
    ],
)
def test_nothing_is_rolled_out_unless_the_whole_passed_on_that_commit(
    world: FakeWorld, runs: list[dict[str, Any]], reason: str
) -> None:
    world.runs["whole"] = runs
    with pytest.raises(RefusedError, match=f"whole {reason}"):
        plan(world)


def test_a_part_whose_newest_run_failed_stays_as_it_is(world: FakeWorld) -> None:
    world.runs["proxy"] = [run_of(conclusion="failure"), run_of(OLD)]
    world.runs["frontend"] = [run_of(status="queued", conclusion="")]
    images, reasons = plan(world)
    assert list(images) == ["aggregator", "wsrelay"]
    assert reasons == ["proxy: proxy ended with failure", "origin: frontend is still running"]


@pytest.mark.parametrize("foreign", [{"event": "pull_request"}, {"head_branch": "other"}])
def test_a_run_of_somebody_elses_main_counts_for_nothing(foreign: dict[str, str]) -> None:
    assert verdict([run_of(**foreign), run_of(OLD)]) == (OLD, "")
    assert verdict([run_of(**foreign)]).reason == "has not run"


def test_an_image_without_our_signature_stops_everything(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.is_signed = False
    environment = {"GITHUB_REPOSITORY": "Team/App", "GITHUB_SHA": HEAD, "IMAGES": "registry.example/Team"}
    assert main(["plan"], environment, world) == 1
    assert capsys.readouterr() == ("", "error: cosign verify: no matching signatures\n")


def test_the_signature_has_to_be_that_of_the_workflow_on_main(world: FakeWorld) -> None:
    plan(world)
    verify = next(command for command in world.commands if command.startswith("cosign"))
    assert r"^https://github\.com/Team/App/\.github/workflows/image\.yml@refs/heads/main$" in verify


def test_a_plan_is_lines_that_a_workflow_can_read_and_a_refusal_is_none(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"GITHUB_REPOSITORY": "Team/App", "GITHUB_SHA": HEAD, "IMAGES": "registry.example/Team"}
    assert main(["plan"], environment, world) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{part}=registry.example/team/bff-{part}@{DIGEST}" for part in PARTS
    ]
    world.head = OLD
    assert main(["plan"], environment, world) == 0
    assert capsys.readouterr() == ("", f"refused: {HEAD} is not the head of main, {OLD} is\n")
    assert main(["head"], environment, world) == 1
