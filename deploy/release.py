"""Release one part: `python -m deploy.release PART VERSION [--dry-run]`, for proxy, aggregator, wsrelay and origin.

Writes the version wherever it is told, gives the changelog's unreleased section its name and date, commits, and tags
the commit `PART-VERSION`. Pushes nothing: what pushes, builds and signs is the workflows' affair. Refused are a version
that is not above the present one, a changelog without an unreleased section or with an empty one, a tag that is there,
and a checkout with changes.
"""

import argparse
import difflib
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CHANGELOG: Final = "CHANGELOG.md"
SERVICES: Final = ("proxy", "aggregator", "wsrelay")
PARTS: Final = (*SERVICES, "origin")
UNRELEASED: Final = re.compile(r"^## Unreleased\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
Git = Callable[[Sequence[str]], str]


class ReleaseError(Exception):
    """This cannot be released; the text says why."""


def places(part: str) -> dict[str, str]:
    """Return where a part's version is told: a pattern by file, whose group 1 comes before the version."""
    project = f"services/{part}/pyproject.toml" if part in SERVICES else "pyproject.toml"
    image = "PAGE: .*?" if part == "origin" else f"SERVICE: {part}, .*?"
    told = {
        project: r'(^version = ")[^"]+',
        "docker-compose.yml": rf'(\{{ {image}VERSION: ")[^"]+',
        "deploy/k8s/base/kustomization.yaml": rf"(name: bff-{part}, newTag: )[^ ]+",
    }
    if part == "origin":
        told["frontend/dashboard/package.json"] = r'(^  "version": ")[^"]+'
        told["frontend/package-lock.json"] = r'(^    "dashboard": \{\n(?:      .*\n)*?      "version": ")[^"]+'
    else:
        told[f"frontend/client/openapi/{part}.json"] = r'(^  "version": ")[^"]+'
    return told


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's three numbers; raise ReleaseError for anything else."""
    if not re.fullmatch(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}", version):
        raise ReleaseError(f"{version!r} is not a version such as 0.3.1")
    return tuple(int(number) for number in version.split("."))


def present(part: str, files: Mapping[str, str]) -> str:
    """Return the version that a part has."""
    project = next(iter(places(part)))
    found = re.search(r'^version = "([^"]+)"', files[project], re.MULTILINE)
    if found is None:
        raise ReleaseError(f"{project} has no version")
    return found[1]


def released(part: str, version: str, date: str, files: Mapping[str, str]) -> dict[str, str]:
    """Return the files with the new version in them.

    Args:
        part: what is released.
        version: the new one.
        date: of the release, `YYYY-MM-DD`.
        files: the text of each file of `places` and of the changelog, by its path.

    Raises:
        ReleaseError: the version is none or not above the present one, a file does not tell it just once, or nothing
            is unreleased.
    """
    before = present(part, files)
    if numbers(version) <= numbers(before):
        raise ReleaseError(f"{part} is at {before} already")
    changed = {}
    for path, pattern in places(part).items():
        changed[path], count = re.subn(pattern, rf"\g<1>{version}", files[path], flags=re.MULTILINE)
        if count != 1:
            raise ReleaseError(f"{path} tells the version of {part} in {count} places")
    section = UNRELEASED.search(files[CHANGELOG])
    if section is None or not section[1].strip():
        raise ReleaseError(f"{CHANGELOG} says nothing under '## Unreleased'")
    title = f"## {version}, {date}" if part == "origin" else f"## {part} {version}, {date}"
    changed[CHANGELOG] = files[CHANGELOG].replace("## Unreleased", title, 1)
    return changed


def run_git(words: Sequence[str]) -> str:
    """Return what git prints; raise ReleaseError with its words if it fails."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603,S607  built here
    if done.returncode:
        raise ReleaseError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout


def release(part: str, version: str, root: Path, git: Git, dry_run: bool) -> str:
    """Release a part, or say only what would change; return what the operator reads.

    Raises:
        ReleaseError: it cannot be released; nothing was changed.
    """
    files = {path: (root / path).read_text() for path in (*places(part), CHANGELOG)}
    changed = released(part, version, datetime.now(UTC).date().isoformat(), files)
    tag = f"{part}-{version}"
    if git(["tag", "--list", tag]).strip():
        raise ReleaseError(f"the tag {tag} is there already")
    if dry_run:
        return "".join(
            line
            for path, text in changed.items()
            for line in difflib.unified_diff(
                files[path].splitlines(keepends=True), text.splitlines(keepends=True), path, path, n=0
            )
        )
    if git(["status", "--porcelain"]).strip():
        raise ReleaseError("there are changes that are not committed")
    for path, text in changed.items():
        (root / path).write_text(text)
    git(["add", *changed])
    git(["commit", "--quiet", "--message", f"Release {part} {version}"])
    git(["tag", "--annotate", tag, "--message", f"{part} {version}"])
    recording = f"; record what it leaves in Redis: python -m tests.compat.record {part}" if part in SERVICES else ""
    return f"tagged {tag}; push it with: git push origin HEAD:main {tag}{recording}\n"


def main(words: Sequence[str] | None = None, root: Path = ROOT, git: Git = run_git) -> int:
    """Do what the command line says; a failure is one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args(words)
    try:
        sys.stdout.write(release(arguments.part, arguments.version, root, git, arguments.dry_run))
    except ReleaseError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
