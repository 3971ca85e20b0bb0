"""A stack that is attacked, and the state of its parts."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from bff_tools import Stack, StackOptions
from bff_tools.origin import TEMPLATE

TOKENS = {"alice": "token-of-alice", "mallory": "token-of-mallory", "trent": "token-of-trent"}
"""Users of the backend, who share out its runs: alice is honest, mallory is not."""

ADMIN_TOKEN = "the admin's token"
SERVICES = ("proxy", "aggregator", "wsrelay")
CACHES = {"aggregator": "bff_cache_memory_bytes", "wsrelay": "bff_stream_log_bytes"}
WAIT_S = 20.0


@dataclass(frozen=True)
class Snapshot:
    """The state of a stack's parts that an attack may not change for good."""

    memory: Mapping[str, int]
    """Bytes of each part of ours, without those in `cached`."""
    cached: Mapping[str, int]
    """Bytes that are kept for the next user and have a bound of their own.

    Those of chunks and runs in the aggregator, and of frame logs in the relay, which it drops `BFF_LOG_LINGER` after
    their last viewer.
    """
    files: Mapping[str, int]
    """File descriptors of each part, without those in `connections`."""
    connections: Mapping[str, int]
    """Connections that nginx has to each service, in use or kept for the next request."""
    spool: int
    flags: Mapping[str, Any]
    breakers: Mapping[str, float]
    pids: Mapping[str, int | None]


@dataclass
class Target:
    """A stack that is attacked."""

    stack: Stack
    run_id: str
    """A finished run of alice's."""

    @property
    def origin(self) -> str:
        """The URL of nginx."""
        return self.stack.origin

    def get(self, path: str, user: str | None = "alice", **headers: str) -> httpx.Response:
        """Ask the origin as a user."""
        credentials = {"Authorization": f"Bearer {TOKENS[user]}"} if user else {}
        return httpx.get(self.origin + path, headers={**credentials, **headers}, timeout=WAIT_S)

    def arrivals(self, part: str) -> list[dict[str, Any]]:
        """Return the requests that reached the backend and hold this in their target, oldest first."""
        seen = httpx.get(f"http://127.0.0.1:{self.stack['backend'].port}/__requests", timeout=WAIT_S).json()
        return [request for request in seen["requests"] if part in f"{request['raw_path']}?{request['query']}"]

    @contextmanager
    def backend_faults(self, *rules: dict[str, Any]) -> Iterator[None]:
        """Put rules of `bff_demo.faults.Rule` into force at the backend while the block runs."""
        url = f"http://127.0.0.1:{self.stack['backend'].port}/__faults"
        httpx.put(url, json={"rules": rules}, timeout=WAIT_S).raise_for_status()
        try:
            yield
        finally:
            httpx.delete(url, timeout=WAIT_S).raise_for_status()

    def run_of(self, user: str) -> str:
        """Return the finished run of a user that has the fewest days."""
        runs = self.get("/api/v1/backtests?limit=500", user).raise_for_status().json()["items"]
        return str(min((run for run in runs if run["status"] == "DONE"), key=days)["run_id"])

    def streams(self) -> dict[str, Any]:
        """Return what the admin sees of the relay."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        found = httpx.get(f"{self.origin}/api/v1/streams", headers=headers, timeout=WAIT_S)
        return dict(found.raise_for_status().json())

    def metric(self, service: str, name: str, **labels: str) -> float:
        """Return the sum of a metric's values in a service that have these labels; 0 where there are none."""
        text = httpx.get(f"http://127.0.0.1:{self.stack[service].port}/metrics", timeout=WAIT_S).text
        lines = re.findall(rf"^{re.escape(name)}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        return sum(float(value) for own, value in lines if wanted <= set(own.split(",")))

    def memory(self, name: str) -> int:
        """Return the bytes of a part's processes: proportional set size, children included (proc(5), smaps_rollup)."""
        return sum(_proportional(pid) for pid in _family(self._pid(name)))

    @contextmanager
    def peak(self, name: str) -> Iterator[Callable[[], int]]:
        """Yield what returns the most bytes that a part's own process has held since the block began.

        It is resident memory (proc(5), VmHWM), which the kernel notes: nothing between two looks is missed.
        """
        status = Path(f"/proc/{self._pid(name)}/status")
        status.with_name("clear_refs").write_text("5")
        yield lambda: _kibibytes(status, "VmHWM") << 10

    def files(self, name: str) -> int:
        """Return how many file descriptors a part's processes hold."""
        return sum(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in _family(self._pid(name)))

    def connections(self, service: str) -> int:
        """Return how many connections nginx has to a service (proc_net_tcp(5): established ones at its port)."""
        rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
        local, established = f":{self.stack[service].port:04X}", "01"
        return sum(row[1].endswith(local) and row[3] == established for row in rows)

    def spool(self) -> int:
        """Return the bytes of bodies that nginx has written to its folders; it unlinks each file once it is open."""
        held = [link for pid in _family(self._pid("nginx")) for link in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(_spooled(link, self.stack.folder) for link in held)

    def snapshot(self) -> Snapshot:
        """Return the present state of everything that has to come back."""
        names = [child.name for child in self.stack]
        connections = {name: self.connections(name) for name in SERVICES}
        not_own = {**connections, "nginx": sum(connections.values())}
        cached = {name: int(self.metric(name, metric)) for name, metric in CACHES.items()}
        flags = httpx.get(f"{self.origin}/api/v1/flags", timeout=WAIT_S).raise_for_status().json()["flags"]
        return Snapshot(
            memory={name: self.memory(name) - cached.get(name, 0) for name in names if name != "backend"},
            cached=cached,
            files={name: self.files(name) - not_own.get(name, 0) for name in names},
            connections=connections,
            spool=self.spool(),
            flags={flag["key"]: flag["value"] for flag in flags},
            breakers={name: self.metric(name, "bff_upstream_breaker_open") for name in SERVICES},
            pids={child.name: child.pid for child in self.stack},
        )

    def _pid(self, name: str) -> int:
        pid = self.stack[name].pid
        assert pid is not None, f"{name} does not run"
        return pid


def keepalive(service: str) -> int:
    """Return how many idle connections to a service nginx's route map keeps; the stack's nginx has one worker."""
    found = re.search(
        rf"upstream bff_{service} {{.*?^ +keepalive (\d+);", TEMPLATE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, service
    return int(found[1])


def longest_run(target: Target) -> tuple[str, str]:
    """Return the finished run of the most days of all users, and whose it is."""
    found = [
        (days(run), str(run["run_id"]), user)
        for user in TOKENS
        for run in target.get("/api/v1/backtests?limit=500", user).raise_for_status().json()["items"]
        if run["status"] == "DONE"
    ]
    _, run_id, user = max(found)
    return run_id, user


def start_target(environment: Mapping[str, Mapping[str, str]] | None = None, **options: Any) -> Target:
    """Start a stack as delivered, with users, an admin's token and the rollback of flags; `stack.stop()` ends it.

    `environment` is further environment by the name of a service or `*`, `options` are those of StackOptions.
    """
    own = {"BFF_ADMIN_TOKEN": ADMIN_TOKEN, "BFF_ROLLBACK_ENABLED": "true", "BFF_LOG_FORMAT": "json"}
    given = environment or {}
    tokens = ",".join(f"{user}={token}" for user, token in TOKENS.items())
    chosen = {"demo_args": ("--faults", "--protocol", "newer", "--tokens", tokens), **options}
    stack = Stack(StackOptions(environment={**given, "*": {**own, **given.get("*", {})}}, **chosen))
    stack.start()
    made = Target(stack, "")
    made.run_id = made.run_of("alice")
    return made


def days(run: Mapping[str, str]) -> int:
    """Return how many days a run has."""
    return (date.fromisoformat(run["run_to"]) - date.fromisoformat(run["run_from"])).days


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(own for child in children.read_text().split() for own in _family(int(child)))]


def _proportional(pid: int) -> int:
    return _kibibytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") << 10


def _kibibytes(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    assert found, (file, name)
    return int(found[1])


def _spooled(link: Path, folder: Path) -> int:
    """Return the bytes of an open file if it lies in a folder within this one; logs lie beside those folders."""
    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
        if folder in link.readlink().parent.parents:
            return link.stat().st_size
    return 0
