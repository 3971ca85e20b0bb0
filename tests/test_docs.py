"""Documentation that can be wrong is held to the code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
VERBS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=[path.name for path in DOCUMENTS])


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(document: Path) -> str:
    """The shell blocks and code spans of a document."""
    found = re.findall(r"```sh\n(.*?)```|(?<!`)`([^`\n]+)`(?!`)", document.read_text(), re.DOTALL)
    return "\n".join(block or span for block, span in found)


def test_settings_table_is_that_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "docs/settings_table.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_names_eight_settings_that_exist() -> None:
    named = re.findall(r"^\| `(BFF_\w+)` \|", README, re.MULTILINE)
    known = re.findall(r"^\| `(BFF_\w+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert len(named) == 8
    assert set(named) <= set(known)


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len(README.split()) <= 1000


def test_measured_figures_of_the_readme_are_those_of_the_stored_results() -> None:
    sections = json.loads((ROOT / "bench/results/baseline.json").read_text())["sections"]
    stored = {
        rounded
        for section in sections.values()
        for each in section["figures"]
        for rounded in (f"{each['value']:.0f}", f"{each['value']:.1f}")
    }
    rows = [row for row in README.splitlines() if "bench/results/baseline.json" in row]
    assert len(rows) >= 3
    for row in rows:
        figures = re.findall(r"(\d+(?:\.\d+)?) (?:ms|times|µs|KiB)", row.split("|")[2])
        assert figures, row
        assert set(figures) <= stored, row


def test_every_verb_of_the_makefile_is_in_the_contributors_table() -> None:
    told = set(re.findall(r"^\| `make ([a-z-]+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert told == VERBS


@by_name
def test_commands_named_exist(document: Path) -> None:
    code = commands(document)
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)\b", code)) <= VERBS
    for script in re.findall(r"(?:python3?|\$) ((?:tools|docs|deploy|requirements)/\S+\.py)", code):
        assert (ROOT / script).is_file(), script
    for target in re.findall(r"(?:ARGS=\"|pytest )(tests/[\w/.]+)", code):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"make bench ARGS=\"?(\w+)", code):
        assert (ROOT / f"bench/scenarios/{name}.py").is_file(), name


@by_name
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        target = document.parent / link if link else document
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w-]+\.md)", index))


def test_folders_that_the_architecture_names_exist() -> None:
    for folder in re.findall(
        r"`((?:services|shared|tests|deploy|demo|frontend|tools|bench)/[\w/.]+?)/?`",
        (ROOT / "docs/architecture.md").read_text(),
    ):
        assert (ROOT / folder).exists(), folder
