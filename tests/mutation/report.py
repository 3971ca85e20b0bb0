"""The table of mutants in a page: a row for each module, then its survivors with their reasons. Pure.

A module keeps its row and its survivors until it is measured again, so that a row says on which commit that was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.mutation.mutants import Mutant

BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"
HEAD = ("| module | mutants | killed | share | commit |", "|---|---|---|---|---|")
NO_REASON = "**not examined**"


@dataclass(frozen=True)
class Result:
    """What became of a module's mutants."""

    module: str
    tried: int
    survivors: Sequence[Mutant]

    @property
    def killed(self) -> int:
        """Return how many mutants some test noticed."""
        return self.tried - len(self.survivors)

    def row(self, commit: str) -> str:
        """Return the table's row."""
        share = 100 * self.killed // max(1, self.tried)
        return f"| `{self.module}` | {self.tried} | {self.killed} | {share}% | {commit} |"

    def survived(self, reasons: Mapping[str, str]) -> list[str]:
        """Return a line for each survivor: its name and why it may survive."""
        return [f"- `{self.module}` {each.name}: {reasons.get(each.name, NO_REASON)}" for each in self.survivors]


def updated(
    page: str, order: Sequence[str], results: Sequence[Result], reasons: Mapping[str, Mapping[str, str]], commit: str
) -> str:
    """Return the page with the results in the place of what it said of their modules.

    Args:
        page: Markdown with the two marks between which the table stands.
        order: The modules that have a row, in their order; others lose theirs.
        results: What was measured now.
        reasons: By module and a mutant's name, why it may survive.
        commit: What was measured.
    """
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows, survivors = _kept(old, "| "), _kept(old, "- ")
    for result in results:
        rows[result.module] = [result.row(commit)]
        survivors[result.module] = result.survived(reasons.get(result.module, {}))
    table = [*HEAD, *(line for module in order for line in rows.get(module, ()))]
    listed = [line for module in order for line in survivors.get(module, ())]
    return "\n".join([f"{before}{BEGIN}", *table, "", "Survivors:", "", *listed, f"{END}{after}"])


def _kept(old: str, mark: str) -> dict[str, list[str]]:
    """Return the lines that begin with a mark and a module's name, by module."""
    kept: dict[str, list[str]] = {}
    for line in old.splitlines():
        if line.startswith(f"{mark}`"):
            kept.setdefault(line.split("`")[1], []).append(line)
    return kept
