"""The table of what trials showed, as Markdown: between the marks of the page that CHAOS_REPORT names."""

import os
import subprocess
from pathlib import Path

from tests.chaos.trial import Finding

ROOT = Path(__file__).parents[2]
HEAD = "| what | where | clients of a kind | answers | slowest | streams resumed | longest gap | well again after |"
BEGIN, END = "<!-- chaos -->\n", "<!-- /chaos -->\n"


class Report:
    """Collects findings of all trials; writes them if it is asked to."""

    def __init__(self) -> None:
        self._rows: list[str] = []

    def add(self, finding: Finding) -> None:
        """Take one trial's row."""
        answers = ", ".join(f"{what}: {count}" for what, count in sorted(finding.answers.items()))
        place = "" if finding.place == "none" else finding.place
        self._rows.append(
            f"| {finding.name} | {place} | {finding.size} | {answers} | {finding.slowest_s:.1f} s"
            f" | {finding.closes.total()} | {finding.longest_gap_s:.1f} s | {finding.recovered_s:.1f} s |"
        )

    def table(self, commit: str) -> str:
        """Return the rows as a table that says on which commit they were seen."""
        rule = "|" + "---|" * (HEAD.count("|") - 1)
        return "\n".join([f"At commit {commit}:", "", HEAD, rule, *self._rows, ""])

    def write(self) -> None:
        """Put the table into the page, if there is one and anything was found."""
        if self._rows and (page := os.environ.get("CHAOS_REPORT")):
            path = ROOT / page
            path.write_text(replaced(path.read_text(), self.table(_commit())))


def replaced(page: str, table: str) -> str:
    """Return a page with another table between its marks; ValueError if it has none."""
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"the page has no {BEGIN.strip()} … {END.strip()}")
    return f"{before}{BEGIN}{table}{END}{after}"


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
