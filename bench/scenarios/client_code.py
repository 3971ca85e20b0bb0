"""The code that a data-heavy view needs: the legacy adapter against the BFF path, counted in a tree-shaken build.

`own` is what only that side needs; `single` is that without views, which bring all of a run's page in one request and
serve legacy too; `whole` has the code that both share as well: HTTP, errors, flights, falling back.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.lib.figures import figure

ROOT = Path(__file__).resolve().parents[2]
AT_LEAST, AIM = 50, 70


def frontend() -> ModuleType:
    """Return the script that knows this machine's Node."""
    spec = importlib.util.spec_from_file_location("frontend_script", ROOT / "tools/frontend.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tools/frontend.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(figures: dict[str, Any]) -> list[str]:
    """Return a line for each measure of each kind: legacy, BFF, and how much less that is in percent."""
    lines = [f"{'':<20}{'legacy':>9}{'BFF':>9}{'less':>8}"]
    for kind, beside in (("single", "own"), ("own", "own"), ("whole", "whole")):
        for measure, before in figures["legacy"][beside].items():
            after = figures["bff"][kind][measure]
            lines.append(f"{f'{kind} {measure}':<20}{before:>9,}{after:>9,}{1 - after / before:>8.0%}")
    return lines


def main() -> int:
    """Print the table; return 1 if some measure of the sides' own code shrinks by less than half."""
    script = frontend()
    node = script.find_node()
    if node is None:
        print("left out: Node is missing")
        return 0
    script.install(node)
    done = node.run("run", "--silent", "count", "--workspace", "bff-client", capture=True)
    if done.returncode:
        print(done.stderr.strip())
        return 1
    figures = json.loads(done.stdout)
    print("\n".join(table(figures)))
    least = min(1 - figures["bff"]["own"][name] / before for name, before in figures["legacy"]["own"].items())
    figure("least code saved, by any measure", 100 * least, "%", better="higher", goal=AT_LEAST)
    print(f"at least {least:.0%} less by every measure (asked: {AT_LEAST} %, aimed at: {AIM} %)")
    return int(least * 100 < AT_LEAST)


if __name__ == "__main__":
    sys.exit(main())
