"""`python -m bff_tools.warm URL SYMBOL…`: have charts fetched before anybody asks for them, as after a loss of Redis.

Asks the origin for each symbol's last days and years of bars, like a page that zooms out, with the credentials in the
environment's AUTHORIZATION (`Bearer …`). They matter: unless BFF_CACHE_SCOPE says otherwise, what is cached for one
credential serves nobody else.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from bff_tools.outside import Answer, Outside

WINDOWS: Final = (("1M", 7), ("1M", 31), ("1H", 365), ("1D", 1825))
"""Timeframes, and how many days up to today of each: what pages open with, and one step out each."""
TRIES: Final = 8
"""A window that takes longer than a request may wait goes on being fetched, and is there at one of the next tries."""
MOST_WAIT_SECONDS: Final = 30.0
Get = Callable[[str, Mapping[str, str]], Answer]


def paths(symbol: str, today: date) -> Iterator[str]:
    """Return what is asked for a symbol whose bars end today."""
    for timeframe, days in WINDOWS:
        window = {"from_date": (today - timedelta(days=days)).isoformat(), "to_date": today.isoformat()}
        yield "/api/v1/chart-data?" + urlencode({"symbol": symbol, "timeframe": timeframe, **window})


def warm(get: Get, path: str, headers: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> str:
    """Ask until the chart is there; return nothing, or why it cannot be had."""
    answer = Answer(error="never asked")
    for attempt in range(TRIES):
        answer = get(path, headers)
        if answer.status == 200:
            return ""
        if answer.status not in {0, 429, 502, 503, 504}:
            break
        if attempt < TRIES - 1:
            told = answer.headers.get("retry-after", "")
            sleep(min(float(told) if told.isdigit() else 1.0, MOST_WAIT_SECONDS))
    return answer.error or f"{answer.status} {answer.body[:200].decode(errors='replace')}"


def last_day(answer: Answer, today: date) -> date:
    """Return the last day that the backend has bars of, as its response says that has none; else today."""
    try:
        return date.fromisoformat(json.loads(answer.body)["error"]["details"]["known"]["to_date"])
    except (ValueError, KeyError, TypeError):
        return today


def main(words: Sequence[str] | None = None) -> int:
    """Warm every symbol of the command line; exit status 1 if one cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("symbols", nargs="+", help="one after the other, or with commas between")
    arguments = parser.parse_args(words)
    given = os.environ.get("AUTHORIZATION")
    headers = {"Authorization": given} if given else {}
    failed = False
    try:
        origin = Outside(arguments.url, timeout=60)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for symbol in (symbol for word in arguments.symbols for symbol in word.split(",") if symbol):
        began = time.monotonic()
        today = datetime.now(UTC).date()
        today = last_day(origin.get(next(paths(symbol, today)), headers), today)
        wrong = [why for path in paths(symbol, today) if (why := warm(origin.get, path, headers))]
        failed = failed or bool(wrong)
        print(f"{symbol}: {wrong[0] if wrong else 'warm'} after {time.monotonic() - began:.1f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
