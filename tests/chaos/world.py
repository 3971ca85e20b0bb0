"""A whole stack of real processes with a fault proxy between any two, and the truth about the data that it serves."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

from bff_tools import Stack, StackOptions
from tests.chaos.faultproxy import Fault, FaultProxy

SERVICES = ("proxy", "aggregator", "wsrelay")
SYMBOL, FIRST_DAY = "AAPL", "2024-11-01"
WAIT_S = 20.0
ADMIN_TOKEN = "chaos-admin"

CHART_TIMEOUT, RUN_TIMEOUT, SILENCE, NGINX_TIMEOUT = 4.0, 4.0, 4.0, 10.0
"""Seconds after which a chart, a run, a silent backend and a silent service are given up."""

QUICK = {
    "*": {
        "BFF_ADMIN_TOKEN": ADMIN_TOKEN,
        "BFF_BREAKER_OPEN_SECONDS": "0.5",
        "BFF_CHART_TIMEOUT": str(CHART_TIMEOUT),
        "BFF_RUN_TIMEOUT": str(RUN_TIMEOUT),
        "BFF_FIRST_BYTE_TIMEOUT": str(SILENCE),
        "BFF_IDLE_TIMEOUT": str(SILENCE),
        "BFF_LOG_FORMAT": "json",
    },
    "wsrelay": {
        "BFF_READ_STALL_SECONDS": "2",
        "BFF_STREAM_DRAIN_SPREAD": "0.3",
    },
}
"""Waits that are short enough for tests and long enough for a busy machine; what is decided is the same."""

Json = dict[str, Any]


@dataclass
class World:
    """The stack, the proxies by what they stand before (`browser`: before nginx), and what is true."""

    stack: Stack
    proxies: Mapping[str, FaultProxy]
    run_id: str = ""
    frames: list[Json] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    _logged: int = 0

    @property
    def origin(self) -> str:
        """Where browsers arrive, through the fault proxy before nginx."""
        return self.proxies["browser"].url if "browser" in self.proxies else self.stack.origin

    def inject(self, place: str, fault: Fault) -> None:
        """Put a fault between two processes; `services` means every way from nginx to a service."""
        for proxy in self.at(place):
            proxy.inject(fault)

    def heal(self) -> None:
        """Take every fault back."""
        for proxy in self.proxies.values():
            proxy.heal()

    def at(self, place: str) -> list[FaultProxy]:
        """Return the proxies of a place."""
        if place != "services":
            return [self.proxies[place]]
        return [proxy for name, proxy in self.proxies.items() if name.partition("-")[0] in SERVICES]

    def direct(self, path: str, body: Json | None = None) -> Any:
        """Ask the backend itself, past everything."""
        return ask(f"http://127.0.0.1:{self.stack['backend'].port}{path}", body)

    def arrivals(self) -> Counter[str]:
        """Return how often a request with each Idempotency-Key has reached the backend."""
        requests = self.direct("/__requests")["requests"]
        headers = (header for request in requests for header in request["headers"])
        return Counter(value for name, value in headers if name.lower() == "idempotency-key")

    def forget_requests(self) -> None:
        """Let the backend forget what has arrived."""
        url = f"http://127.0.0.1:{self.stack['backend'].port}/__requests"
        httpx.delete(url, timeout=WAIT_S).raise_for_status()

    def served_by(self, name: str) -> bool:
        """Tell whether nginx has handed a request to a process and got its answer, since its log was looked at last."""
        seen, self._logged = self._logged, len(text := self.stack["nginx"].log_text())
        address = f"127.0.0.1:{self.stack[name].port}"
        lines = (json.loads(line) for line in text[seen:].splitlines() if line.startswith("{"))
        return any(line["upstream"] == address and line["upstream_status"] == "200" for line in lines)

    def pids(self) -> dict[str, int | None]:
        """Return the processes that have to live through every fault of the network."""
        return {child.name: child.pid for child in self.stack}


def ask(url: str, body: Json | None = None) -> Any:
    """Return the JSON of an answer; raises httpx.HTTPError for any but a 2xx."""
    headers = {"Authorization": "Bearer oracle"}
    method = "GET" if body is None else "POST"
    return httpx.request(method, url, json=body, headers=headers, timeout=WAIT_S).raise_for_status().json()


def open_files(pid: int) -> int:
    """Return how many file descriptors a process holds."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def world(replicas: int = 1, **environment: Mapping[str, str]) -> Iterator[World]:
    """Start a stack with fault proxies everywhere, learn the truth from its backend, and end it all.

    Where a service has several replicas there is none between nginx and them: nginx has to see for itself that one is
    away. `environment` is further environment by the name of a service or of one of its processes.
    """
    with ExitStack() as owned:
        proxies: dict[str, FaultProxy] = {}

        def before(name: str, port: int) -> int:
            if name not in proxies:
                proxies[name] = owned.enter_context(FaultProxy("127.0.0.1", port))
            return proxies[name].port

        names = ["backend", "redis", *(SERVICES if replicas == 1 else ())]
        stack = Stack(
            StackOptions(
                demo_args=("--faults", "--load-delay", "0.1", "--protocol", "newer"),
                environment={
                    name: {**QUICK.get(name, {}), **environment.get(name, {})} for name in {*QUICK, *environment}
                },
                replicas=dict.fromkeys(SERVICES, replicas),
                through={name: lambda port, name=name: before(name, port) for name in names},  # type: ignore[misc]
                route_map={"NGINX_READ_TIMEOUT": f"{NGINX_TIMEOUT:g}s"},
            )
        )
        owned.enter_context(stack)
        before("browser", stack.origin_port)
        made = World(stack, proxies)
        made.run_id = _find_run(made)
        made.frames = _frames(made)
        yield made


def _find_run(made: World) -> str:
    """Return the run that is played: one that the backend knows again when it was started anew."""
    runs = made.direct("/backtests?limit=100")["items"]
    (found,) = (run["run_id"] for run in runs if run["symbol"] == SYMBOL and run["run_from"] == FIRST_DAY)
    return str(found)


def _frames(made: World) -> list[Json]:
    """Read the run's frames from the backend's own WebSocket."""
    expected = len(made.direct(f"/backtests/{made.run_id}/equity")["equity"])
    frames: list[Json] = []
    url = f"ws://127.0.0.1:{made.stack['backend'].port}/backtests/{made.run_id}/ws"
    with connect(url, compression=None, proxy=None, max_size=None) as connection:
        connection.send('{"t":"ready"}')
        connection.send('{"t":"ctrl","cmd":"play"}')
        while len(frames) < expected:
            message = json.loads(connection.recv(WAIT_S))
            if message["t"] == "frame":
                frames.append(message)
    return frames
