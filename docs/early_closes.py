"""Write the table of early closes from the package `holidays`, or check it: `python docs/early_closes.py [--check]`."""

import re
import sys
from collections import defaultdict
from datetime import date
from pathlib import Path

import holidays

MODULE = Path(__file__).parents[1] / "services/aggregator/src/bff_aggregator/charts/early_closes.py"
YEARS = range(1970, 2051)
OPEN = 9 * 60 + 30
DATES_PER_LINE = 9
_CLOSE = re.compile(r"close at ([0-9]+):([0-9]{2})pm")
_HEADER = '''"""Days from {first} to {last} on which the New York Stock Exchange closed or will close early. Pure.

Written by `make docs` from the package `holidays` {version}; a test compares. Do not edit.
"""

EARLY_CLOSES = {{
    # Minutes from 09:30 to the close, and the days in New York.
'''


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


def module() -> str:
    """Return the source of the table."""
    text = _HEADER.format(first=YEARS[0], last=YEARS[-1], version=holidays.__version__)
    for minutes, days in early_closes().items():
        lines = [days[at : at + DATES_PER_LINE] for at in range(0, len(days), DATES_PER_LINE)]
        text += (
            f'    {minutes}: """\n' + "".join(f"        {' '.join(map(str, line))}\n" for line in lines) + '    """,\n'
        )
    return text + "}\n"


def main() -> int:
    """Write or check the table; return the exit status."""
    if "--check" not in sys.argv:
        MODULE.write_text(module())
    elif MODULE.read_text() != module():
        sys.stderr.write(f"{MODULE}: not what `holidays` says; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
