"""Children that need nothing but Python, and a guard that ends them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bff_tools.guard import Guard
from bff_tools.ports import free_ports
from bff_tools.probes import http_probe
from bff_tools.processes import Child

MakeChild = Callable[..., Child]

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words): pass
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard that is closed, and ends what is left, when the test ends."""
    owned = Guard()
    yield owned
    owned.close()


@pytest.fixture
def make_child(guard: Guard, tmp_path: Path) -> Iterator[MakeChild]:
    """Return a function that makes a child which runs a piece of Python, a small HTTP server unless told otherwise."""
    made: list[Child] = []

    def make(program: str = SERVER, name: str = "child") -> Child:
        (port,) = free_ports(1)
        command = [sys.executable, "-I", "-S", "-u", "-c", program, str(port)]
        log = tmp_path / f"{name}.log"
        made.append(Child(name, command, port=port, log=log, probe=http_probe(port, "/"), guard=guard))
        return made[-1]

    yield make
    for child in made:
        child.kill()
