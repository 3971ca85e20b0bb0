"""Write the tables of early closes from the package `holidays`; with `--check`, compare them."""

import re
import sys
from collections import defaultdict
from datetime import date
from pathlib import Path

import holidays

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / "shared/src/bff_shared/early_closes.py"
TYPESCRIPT = ROOT / "frontend/client/src/generated/early-closes.ts"
YEARS = range(1970, 2051)
RULE_SINCE = 2004
"""The year from which on the client's rule gives the same days, so that its table ends there."""

OPEN = 9 * 60 + 30
DATES_PER_LINE = 9
_CLOSE = re.compile(r"close at ([0-9]+):([0-9]{2})pm")
_HEADER = '''"""Days from {first} to {last} on which the New York Stock Exchange closed or will close early. Pure.

Written by `make docs` from the package `holidays` {version}; a test compares. Do not edit.
"""

EARLY_CLOSES = {{
    # Minutes from 09:30 to the close, and the days in New York.
'''

_TYPESCRIPT = """/**
 * Days from {first} to before {since} on which the New York Stock Exchange closed early, by the minutes from 09:30 to
 * the close; `first/last` stands for all weekdays of a span.
 *
 * Written by `make docs` from the package `holidays` {version}; a test compares. Do not edit.
 */
export const EARLY_CLOSES: Readonly<Record<number, string>> = {{
"""


def early_closes() -> dict[int, list[date]]:
    """Return the days that end early by the minutes from 09:30 to their close."""
    found = defaultdict(list)
    days = holidays.financial_holidays("NYSE", years=YEARS, categories=("half_day",))
    for day, name in sorted(days.items()):
        close = _CLOSE.search(name)
        if close is None:
            raise ValueError(f"{day}: no time in {name!r}")
        if day.weekday() < 5 and day.year in YEARS:
            found[(12 + int(close[1])) * 60 + int(close[2]) - OPEN].append(day)
    return dict(sorted(found.items()))


def python_module() -> str:
    """Return the source of the services' table."""
    text = _HEADER.format(first=YEARS[0], last=YEARS[-1], version=holidays.__version__)
    for minutes, days in early_closes().items():
        lines = [days[at : at + DATES_PER_LINE] for at in range(0, len(days), DATES_PER_LINE)]
        text += (
            f'    {minutes}: """\n' + "".join(f"        {' '.join(map(str, line))}\n" for line in lines) + '    """,\n'
        )
    return text + "}\n"


def intervals(days: list[date]) -> list[str]:
    """Return days in ascending order, with weekdays that follow each other as one `first/last`."""
    found: list[list[date]] = []
    for day in days:
        follows = found and (day - found[-1][-1]).days == (3 if day.weekday() == 0 else 1)
        found[-1:] = [[*found[-1], day]] if follows else [*found[-1:], [day]]
    return [str(span[0]) if len(span) == 1 else f"{span[0]}/{span[-1]}" for span in found]


def typescript_module() -> str:
    """Return the source of the client's table."""
    text = _TYPESCRIPT.format(first=YEARS[0], since=RULE_SINCE, version=holidays.__version__)
    for minutes, days in early_closes().items():
        if early := [day for day in days if day.year < RULE_SINCE]:
            spans = intervals(early)
            lines = [spans[at : at + DATES_PER_LINE] for at in range(0, len(spans), DATES_PER_LINE)]
            text += f"  {minutes}: `\n" + "".join(f"    {' '.join(line)}\n" for line in lines) + "  `,\n"
    return text + "};\n"


def main() -> int:
    """Write or check the tables; return the exit status."""
    status = 0
    for path, text in ((PYTHON, python_module()), (TYPESCRIPT, typescript_module())):
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            sys.stderr.write(f"{path}: not what `holidays` says; run `make docs`\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
