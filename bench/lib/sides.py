"""Measure several builds of the services in turns, so that whatever else the machine does concerns all alike."""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import uvloop
from bench.lib.figures import figure
from bench.lib.http_client import keep_busy
from bench.lib.processes import cpu_seconds, free_port
from bench.lib.servers import TOKEN, Client, running, settings

SETTLE_SECONDS = 0.15
"""How long after a response a service may still be busy with it, storing it for instance."""


@dataclass(frozen=True)
class Side:
    """One build of the services: `name` in reports, and how Python runs a module of it."""

    name: str
    python: str = sys.executable
    launcher: tuple[str, ...] = ("-m",)

    def command(self, module: str) -> list[str]:
        """Return the command of a service."""
        return [self.python, *self.launcher, module]


NOW = Side("now")
ON_AIOHTTP = Side("aiohttp", launcher=("-m", "bench.lib.aiohttp_transport"))


def before(checkout: str) -> Side:
    """Return the side of another checkout, which has its environment in `.venv`; raise SystemExit without one."""
    python = Path(checkout).absolute() / ".venv/bin/python"
    if not python.exists():
        raise SystemExit(f"error: no {python}; run `make run` or `make test` there once")
    return Side("before", str(python))


class Cost(NamedTuple):
    """Medians over the rounds: milliseconds of a response, and milliseconds of the service's CPU for it."""

    took: float
    cpu: float


@dataclass
class Service:
    """A service of a side that runs."""

    side: Side
    process: subprocess.Popen[bytes]
    port: int
    rounds: dict[str, list[Cost]] = field(default_factory=dict)

    def keep(self, what: str, took: float, cpu: float) -> None:
        """Keep what one round cost, given in seconds."""
        self.rounds.setdefault(what, []).append(Cost(took * 1000, cpu * 1000))

    def cost(self, what: str) -> Cost:
        """Return the medians of what was kept."""
        return Cost(*(statistics.median(column) for column in zip(*self.rounds[what], strict=True)))


@contextlib.contextmanager
def services(
    module: str, sides: Sequence[Side], backend: int, redis: Callable[[], contextlib.AbstractContextManager[str]] | None
) -> Iterator[list[Service]]:
    """Run a service of each side until the block ends, in front of one backend, each with a Redis of its own."""
    with contextlib.ExitStack() as stack:
        made = []
        for side in sides:
            port = free_port()
            url = stack.enter_context(redis()) if redis else ""
            environment = {**settings(port, backend, url), **ROOM}
            process = stack.enter_context(running(side.command(module), port, **environment))
            made.append(Service(side, process, port))
        yield made


ROOM: Mapping[str, str] = {
    "BFF_STREAM_MAX_PER_CLIENT": "20000",
    "BFF_STREAM_MAX_CONNECTIONS": "20000",
    "BFF_STREAM_HANDSHAKES_PER_CLIENT": "20000",
    "BFF_CLIENT_SHARE": "1",
}
"""One address makes the whole load here."""


def in_turns(found: Sequence[Service], rounds: int) -> Iterator[Service]:
    """Yield each service once a round, the other way round in every second one."""
    for number in range(rounds):
        yield from found if number % 2 else reversed(found)


def purge(service: Service, path: str) -> None:
    """Empty the caches of a service."""
    status, content, _ = Client(service.port).ask(path, "DELETE", authorization=f"Bearer {TOKEN}")
    if status >= 300:
        raise RuntimeError(f"{service.side.name}: {path}: {status} {content[:200]!r}")


def one_by_one(what: str, service: Service, path: str) -> None:
    """Ask once, and keep what that took; raise RuntimeError unless the response is a 200."""
    pid, client = service.process.pid, Client(service.port)
    cpu, begun = cpu_seconds(pid), time.perf_counter()
    status, content, _ = client.ask(path)
    took = time.perf_counter() - begun
    if status != 200:
        raise RuntimeError(f"{service.side.name}: {path}: {status} {content[:200]!r}")
    time.sleep(SETTLE_SECONDS)
    service.keep(what, took, cpu_seconds(pid) - cpu)


def again_and_again(what: str, service: Service, path: str, connections: int, seconds: float) -> None:
    """Ask for `seconds`, and keep the median response and the CPU of each."""
    url, pid = f"http://127.0.0.1:{service.port}{path}", service.process.pid

    async def load() -> tuple[list[float], float]:
        await keep_busy(url, connections, 0.2)
        cpu = cpu_seconds(pid)
        took = await keep_busy(url, connections, seconds)
        return took, cpu_seconds(pid) - cpu

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took, cpu = runner.run(load())
    if not took:
        raise RuntimeError(f"{service.side.name}: {path}: no response in {seconds} s")
    service.keep(what, statistics.median(took), cpu / len(took))


def report(name: str, what: str, found: Sequence[Service], *, unit: str = "ms", times: float = 1.0) -> None:
    """Print and keep the CPU of each side, and the ratio to the first one; show how long a response took."""
    for service in found:
        cost = service.cost(what)
        label = "" if service is found[0] else f", {service.side.name}"
        print(f"  {name}, {service.side.name}: response {cost.took:.2f} ms, CPU {cost.cpu * times:.4g} {unit}")
        figure(f"CPU of {name}{label}", cost.cpu * times, unit)
        if what != "frame":
            figure(f"{name}{label}", cost.took, "ms")
    for other in found[1:]:
        # Rounds of one number were measured beside each other.
        pairs = zip(found[0].rounds[what], other.rounds[what], strict=True)
        ratio = statistics.median(mine.cpu / theirs.cpu for mine, theirs in pairs)
        figure(f"CPU of {name}, {found[0].side.name} beside {other.side.name}", ratio, "x")
