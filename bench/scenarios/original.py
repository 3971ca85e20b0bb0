"""Measure charts beside the original BFF and beside direct calls, at the deployed backend's pace.

Usage: python -m bench.scenarios.original [--rounds 7]

The original is a stand-in that asks the backend as it does and takes as much longer as it was seen to take, beside the
same backend on the same machine (medians of eleven pairs): `cold` less `direct` for a chart that it has not kept,
`warm` for one that it has. Ours is the whole stack, through nginx. All three take turns in each round, in another order
each time. No chart may be slower than the original's, cold or warm.
"""

import argparse
import http.client
import itertools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from bench.lib.figures import figure
from bench.lib.processes import free_port
from bench.lib.servers import TOKEN, server

from bff_tools import Stack, StackOptions

SYMBOL = "AAPL"
YEAR, MONTH = "from=2024-01-01&to=2024-12-31", "from=2024-01-02&to=2024-01-31"
WARM_ASKED = 3


class Window(NamedTuple):
    """A chart, the backend's path that has its bars, and what was recorded of it, in milliseconds."""

    name: str
    timeframe: str
    dates: str
    target: int
    path: str
    cold: float
    direct: float
    warm: float

    @property
    def ours(self) -> str:
        """The request that we answer."""
        return f"/api/v1/chart-data?symbol={SYMBOL}&timeframe={self.timeframe}&{self.dates}&target_points={self.target}"

    @property
    def asked(self) -> str:
        """The backend's own request."""
        target = f"&target={self.target}" if "decimated" in self.path else ""
        return f"{self.path}?symbol={SYMBOL}&{self.dates}{target}"

    def theirs(self, keep: str) -> str:
        """Return the request that the original's stand-in answers, under a name by which it keeps the chart."""
        costs = f"surplus_ms={self.cold - self.direct}&warm_ms={self.warm}"
        return f"/original?to={self.target}&{costs}&keep={keep}&path={quote(self.asked, safe='')}"


WINDOWS = (
    Window("year of days", "1D", YEAR, 10_000, "/bars/daily", 26.7, 10.4, 8.7),
    Window("year of hours", "1H", YEAR, 10_000, "/bars/hour", 77, 30, 31),
    Window("month of minutes", "1M", MONTH, 10_000, "/bars/minute", 380, 115, 111),
    Window("month of minutes at 2,000 points", "1M", MONTH, 2_000, "/bars/minute", 287, 73, 22),
    Window("year of minutes at 2,000 points", "1M", YEAR, 2_000, "/bars/minute", 1930, 786, 28),
    Window("year of minutes at 10,000 points", "1M", YEAR, 10_000, "/bars/minute", 1889, 667, 111),
    Window("year decimated to 2,000 points", "1M_DECIMATED", YEAR, 2_000, "/bars/minute_decimated", 44.5, 27, 9.3),
    Window("year decimated to 10,000 points", "1M_DECIMATED", YEAR, 10_000, "/bars/minute_decimated", 100, 49, 32.2),
)


class Kept:
    """A connection that stays open, as a browser's does."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, target: str, method: str = "GET", **headers: str) -> tuple[float, float]:
        """Return the milliseconds until the first line of the response, which is a chart, and until all of it."""
        begun = time.perf_counter()
        self._connection.request(method, target, headers=headers)
        response = self._connection.getresponse()
        response.readline()
        first = time.perf_counter() - begun
        response.read()
        whole = time.perf_counter() - begun
        if response.status >= http.client.BAD_REQUEST:
            raise SystemExit(f"error: {response.status} for {target}")
        return first * 1000, whole * 1000


def measure(window: Window, ours: Kept, theirs: Kept, rounds: int) -> None:
    """Print what a window takes on all sides, and the ratios."""
    lines = {"accept": "application/x-ndjson"} if "DECIMATED" in window.timeframe else {}
    took: dict[str, list[float]] = {name: [] for name in ("ours", "exact", "theirs", "direct", "warm", "warm theirs")}
    numbers = itertools.count()

    def cold_ours() -> None:
        ours.ask(f"/api/v1/cache/chart-data?symbol={SYMBOL}", "DELETE", authorization=f"Bearer {TOKEN}")
        first, whole = ours.ask(window.ours, **lines)
        took["ours"].append(first)
        took["exact"].append(whole)
        took["warm"] += [ours.ask(window.ours)[1] for _ in range(WARM_ASKED)]

    def cold_theirs() -> None:
        target = window.theirs(f"{window.name}-{next(numbers)}".replace(" ", "-"))
        took["theirs"].append(theirs.ask(target)[1])
        took["warm theirs"] += [theirs.ask(target)[1] for _ in range(WARM_ASKED)]

    def direct() -> None:
        took["direct"].append(theirs.ask(window.asked)[1])

    turns: list[Callable[[], None]] = [cold_ours, cold_theirs, direct]
    for number in range(rounds):
        for turn in turns[number % 3 :] + turns[: number % 3]:
            turn()
    middle = {name: statistics.median(times) for name, times in took.items()}
    exact = f", exact {middle['exact']:.1f}" if lines else ""
    print(
        f"{window.name}: cold {middle['ours']:.1f} ms{exact}, original {middle['theirs']:.1f}, direct"
        f" {middle['direct']:.1f}; warm {middle['warm']:.1f}, original {middle['warm theirs']:.1f}"
    )
    figure(f"{window.name}, cold, beside the original", middle["ours"] / middle["theirs"], "x", goal=1.0)
    figure(f"{window.name}, warm, beside the original", middle["warm"] / middle["warm theirs"], "x", goal=1.0)
    figure(f"{window.name}, cold, beside the direct call", middle["ours"] / middle["direct"], "x")


def main() -> None:
    """Measure every window and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="cold requests of each side that are measured")
    rounds = parser.parse_args().rounds
    demo, paced = free_port(), free_port()
    settings = {"BFF_ADMIN_TOKEN": TOKEN, "BFF_LOG_LEVEL": "ERROR", "BFF_CHART_TIMEOUT": "30"}
    with (
        server("bff_demo", demo, "--port", str(demo), "--no-early-closes"),
        server("bench.lib.paced_backend", paced, str(paced), str(demo)),
        Stack(StackOptions(backend_url=f"http://127.0.0.1:{paced}", environment={"*": settings})) as stack,
    ):
        for window in WINDOWS:
            Kept(stack.origin_port).ask(window.ours)
            measure(window, Kept(stack.origin_port), Kept(paced), rounds)


if __name__ == "__main__":
    main()
