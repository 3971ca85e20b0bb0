"""The table of what trials showed, as Markdown in the file that CHAOS_REPORT names."""

import os
import subprocess
from pathlib import Path

from tests.chaos.trial import Finding

ROOT = Path(__file__).parents[2]
HEAD = "| what | where | clients of a kind | answers | slowest | streams resumed | longest gap | well again after |"


class Report:
    """Collects findings; writes them if it is asked to."""

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

    def write(self) -> None:
        """Append what was found to the file."""
        if target := os.environ.get("CHAOS_REPORT"):
            with Path(target).open("a") as file:
                rule = "|" + "---|" * (HEAD.count("|") - 1)
                file.write("\n".join([f"At commit {_commit()}:", "", HEAD, rule, *self._rows, ""]))


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty")
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
