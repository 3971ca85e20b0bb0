"""`make release`: the version is told anew wherever it is told, and nothing is released by half."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from bff_tools.origin import ROOT
from deploy.release import CHANGELOG, PARTS, SERVICES, ReleaseError, main, numbers, places, present, released

ENTRY = "## Unreleased\n\n### Fixed\n\n- Mended something.\n\n"


def files_of(part: str) -> dict[str, str]:
    files = {path: (ROOT / path).read_text() for path in (*places(part), CHANGELOG)}
    text = re.sub(r"^## Unreleased\n.*?(?=^## )", "", files[CHANGELOG], flags=re.MULTILINE | re.DOTALL)
    head, _, rest = text.partition("\n## ")
    return files | {CHANGELOG: f"{head}\n{ENTRY}## {rest}"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the files that a release changes, each part's, and something to release."""
    for part in PARTS:
        for path, text in files_of(part).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    git(tmp_path, ["init", "--quiet", "--initial-branch", "main"])
    git(tmp_path, ["add", "."])
    git(tmp_path, ["commit", "--quiet", "--message", "begin"])
    return tmp_path


def git(root: Path, words: Sequence[str]) -> str:
    who = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    ]
    command = [str(shutil.which("git")), *who, *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60).stdout  # noqa: S603  built here


def run(checkout: Path, *words: str) -> int:
    return main(words, checkout, lambda given: git(checkout, given))


@pytest.mark.parametrize("part", PARTS)
def test_a_version_is_told_anew_wherever_it_is_told_and_nowhere_else(part: str) -> None:
    before = files_of(part)
    old = present(part, before)
    after = released(part, "9.8.7", "2030-01-02", before)
    assert after.keys() == before.keys()
    for path in places(part):
        lines = [
            (was, now)
            for was, now in zip(before[path].splitlines(), after[path].splitlines(), strict=True)
            if was != now
        ]
        assert [now for _, now in lines] == [was.replace(old, "9.8.7") for was, _ in lines]
        assert len(lines) == 1, path
    compose = yaml.safe_load(after["docker-compose.yml"])["services"]
    versions = {name: item["build"]["args"]["VERSION"] for name, item in compose.items() if "build" in item}
    own = {"nginx", "tls"} if part == "origin" else {part}
    assert {name for name, version in versions.items() if version == "9.8.7"} == own
    if part == "origin":
        locked = json.loads(after["frontend/package-lock.json"])["packages"]
        assert locked["dashboard"]["version"] == "9.8.7"


@pytest.mark.parametrize("part", PARTS)
def test_the_changelog_gets_the_name_and_the_day(part: str) -> None:
    text = released(part, "9.8.7", "2030-01-02", files_of(part))[CHANGELOG]
    title = re.findall(r"^## (.+)$", text, re.MULTILINE)[0]
    assert title == ("9.8.7, 2030-01-02" if part == "origin" else f"{part} 9.8.7, 2030-01-02")
    assert "- Mended something." in text
    assert "Unreleased" not in text


def test_a_release_is_one_commit_and_one_tag(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(checkout, "proxy", "9.8.7") == 0
    assert "git push origin HEAD:main proxy-9.8.7" in capsys.readouterr().out
    assert (
        git(checkout, ["log", "--format=%s %D", "-1"]).strip() == "Release proxy 9.8.7 HEAD -> main, tag: proxy-9.8.7"
    )
    assert git(checkout, ["status", "--porcelain"]) == ""
    assert set(git(checkout, ["show", "--format=", "--name-only"]).split()) == {*places("proxy"), CHANGELOG}


def test_a_dry_run_shows_every_line_and_changes_nothing(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(checkout, "wsrelay", "9.8.7", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert all(f"+++ {path}" in shown for path in (*places("wsrelay"), CHANGELOG))
    assert git(checkout, ["status", "--porcelain"]) == git(checkout, ["tag", "--list"]) == ""


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3-rc1", "01.2.3", ""])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(ReleaseError, match="is not a version"):
        numbers(version)


def test_what_cannot_be_released_is_refused_in_a_line_and_changes_nothing(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert run(checkout, *words) == 1
        return capsys.readouterr().err

    old = present("proxy", files_of("proxy"))
    assert refused("proxy", old) == f"error: proxy is at {old} already\n"
    git(checkout, ["tag", "proxy-9.8.7"])
    assert refused("proxy", "9.8.7") == "error: the tag proxy-9.8.7 is there already\n"
    (checkout / "new").write_text("")
    assert refused("proxy", "9.8.8") == "error: there are changes that are not committed\n"
    (checkout / "new").unlink()
    changelog = checkout / CHANGELOG
    changelog.write_text(changelog.read_text().replace(ENTRY, ""))
    assert refused("proxy", "9.8.8") == f"error: {CHANGELOG} says nothing under '## Unreleased'\n"
    assert git(checkout, ["log", "--format=%s"]) == "begin\n"


def test_every_service_can_be_released() -> None:
    assert {path.parent.name for path in ROOT.glob("services/*/pyproject.toml")} == set(SERVICES)
