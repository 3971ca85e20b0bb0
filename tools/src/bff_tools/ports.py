"""TCP ports on the loopback interface: which are free, and which to take."""

import atexit
import random
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

LOWEST = 10_000
HIGHEST = 32_767
"""Below where Linux, by default, takes the local ports of outgoing connections from."""

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on the port now; a connection that is still closing does not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def highest_usable() -> int:
    """Return the highest port that no outgoing connection of this machine is given.

    A server that is stopped and started again needs its port back. One in the ephemeral range could be taken
    meanwhile by an outgoing connection, even by one to that very port: TCP then connects it to itself.
    """
    try:
        first_ephemeral = int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return HIGHEST
    return first_ephemeral - 1 if first_ephemeral - 1 > LOWEST + 1000 else HIGHEST


_claims: dict[int, socket.socket] = {}


def _claim(port: int) -> bool:
    """Take a port for this process, which others that look for one see before anything listens on it (Linux alone).

    The claim is a name in the abstract namespace of Unix sockets: the kernel lets it go when the process ends.
    """
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0bff-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims[port] = claim
    return True


def release_ports(ports: Iterable[int]) -> None:
    """Let others take these ports."""
    for port in ports:
        if claim := _claims.pop(port, None):
            claim.close()


atexit.register(lambda: release_ports(list(_claims)))


def free_ports(count: int) -> list[int]:
    """Return that many different free ports, which are this process's until it ends or releases them.

    Raises:
        OSError: after 1,000 taken ones in a row nothing seems to be free.
    """
    found: list[int] = []
    refused = 0
    while len(found) < count:
        port = random.randint(LOWEST, highest_usable())  # noqa: S311  chance decides about a port, not about a secret
        if port not in found and is_free(port) and _claim(port):
            found.append(port)
            refused = 0
        elif (refused := refused + 1) > 1000:
            raise OSError("no free port found")
    return found
