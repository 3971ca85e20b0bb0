import socket
import subprocess
import sys

from bff_tools.ports import HIGHEST, LOWEST, free_ports, highest_usable, is_free, release_ports


def listening() -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))
    assert server.getsockname()[1]
    return server


def test_a_port_with_a_listener_is_taken() -> None:
    with listening() as server:
        assert not is_free(server.getsockname()[1])


def test_a_port_is_free_again_after_its_listener() -> None:
    with listening() as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert is_free(port)


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def test_a_port_that_nothing_listens_on_yet_is_not_given_to_another_process() -> None:
    (port,) = free_ports(1)
    only = f"ports.LOWEST = {port}; ports.highest_usable = lambda: {port}"
    ask = f"from bff_tools import ports; {only}; ports.free_ports(1)"
    command = [sys.executable, "-c", ask]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603  our own code
    assert "no free port" in refused.stderr
    release_ports([port])
    assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0  # noqa: S603  as above


def test_ports_are_never_those_of_outgoing_connections() -> None:
    assert all(LOWEST <= port <= highest_usable() for port in free_ports(50))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getsockname()[1] > min(highest_usable(), HIGHEST)
