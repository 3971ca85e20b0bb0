"""A server that stands in for one of the parts behind nginx, and a client that sends and shows bytes as they are."""

import base64
import contextlib
import hashlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from bff_tools import Stack, StackOptions

MakeStack = Callable[[StackOptions], Stack]
WAIT_S = 10.0


@dataclass
class Message:
    """One request or answer as it came over the wire; header names in lower case."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def json(self) -> Any:
        return json.loads(self.body)


def read_head(stream: Any) -> Message | None:
    start = stream.readline().rstrip(b"\r\n").decode("latin-1")
    if not start:
        return None
    headers = []
    while line := stream.readline().rstrip(b"\r\n").decode("latin-1"):
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip(" ")))
    return Message(start, headers)


def read_chunk(stream: Any) -> bytes:
    """Read one chunk of a chunked body; empty at its end (RFC 9112 section 7.1)."""
    size = int(stream.readline(), 16)
    data: bytes = stream.read(size)
    stream.readline()
    return data


def read_body(message: Message, stream: Any) -> bytes:
    if message.all("transfer-encoding") == ["chunked"]:
        return b"".join(iter(lambda: read_chunk(stream), b""))
    length = message.all("content-length")
    if length:
        return bytes(stream.read(int(length[0])))
    return b""


@dataclass
class StandIn:
    """Answers every request with what it got, or as the query says: `?do=NAME` calls the method `do_NAME`."""

    name: str
    port: int
    host: str = "127.0.0.1"
    requests: list[Message] = field(default_factory=list)
    connections: int = 0
    health: dict[str, Any] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)
    server: socketserver.ThreadingTCPServer | None = None
    open: set[socket.socket] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> Self:
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = WAIT_S

            def handle(self) -> None:
                owner.connections += 1
                owner.open.add(self.connection)
                try:
                    while request := read_head(self.rfile):
                        owner.answer(request, self)
                except (OSError, ValueError):
                    pass
                finally:
                    owner.open.discard(self.connection)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

        self.server = Server((self.host, self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        self.requests.clear()
        self.go_on.clear()
        self.connections = 0
        self.draining = False
        self.health = {"service": self.name, "version": "1", "status": "ok", "uptime_s": 1.5, "dependencies": {}}

    def answer(self, request: Message, wire: Any) -> None:
        parts = urlsplit(request.target)
        behaviour: Callable[[Message, Any], None] = self.do_echo
        if parts.path == "/health":
            behaviour = self.do_health
        elif parts.path == "/health/ready" and self.draining:
            behaviour = self.do_drain
        elif chosen := parse_qs(parts.query).get("do"):
            behaviour = getattr(self, f"do_{chosen[0]}")
        if behaviour != self.do_upload:
            request.body = read_body(request, wire.rfile)
        self.requests.append(request)
        behaviour(request, wire)

    def reply(self, wire: Any, status: str, body: bytes, *headers: str) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        wire.wfile.write("\r\n".join(head).encode("latin-1") + body)
        wire.wfile.flush()

    def do_echo(self, request: Message, wire: Any) -> None:
        told = {"who": self.name, "target": request.target, "headers": request.headers, "body": len(request.body)}
        self.reply(wire, "200 OK", json.dumps(told).encode(), "Content-Type: application/json", "X-Request-ID: its-own")

    def do_health(self, _request: Message, wire: Any) -> None:
        body = json.dumps(self.health, separators=(",", ":")).encode()
        self.reply(wire, "200 OK", body, "Content-Type: application/json")

    def do_correlate(self, _request: Message, wire: Any) -> None:
        self.reply(wire, "200 OK", b"{}", "Content-Type: application/json", "X-Correlation-ID: its-own")

    def do_drain(self, _request: Message, wire: Any) -> None:
        self.reply(wire, "503 Service Unavailable", b'{"status":"draining"}', "Content-Type: application/json")

    def do_fail(self, request: Message, wire: Any) -> None:
        code = parse_qs(urlsplit(request.target).query)["code"][0]
        self.reply(wire, f"{code} Its Own Words", b"its own words", "Content-Type: text/plain")

    def do_hang_up(self, _request: Message, wire: Any) -> None:
        wire.connection.shutdown(socket.SHUT_RDWR)

    def do_silence(self, _request: Message, _wire: Any) -> None:
        self.go_on.wait(WAIT_S)

    def do_redirect(self, request: Message, wire: Any) -> None:
        self.reply(wire, "307 Temporary Redirect", b"", f"Location: http://{request.one('host')}/backtests/7?a=b")

    def do_say(self, request: Message, wire: Any) -> None:
        """Answer with the status and the headers that the query names: `?do=say&status=302&header=Location:+/x`."""
        query = parse_qs(urlsplit(request.target).query)
        status = query.get("status", ["200"])[0]
        self.reply(wire, f"{status} As Asked", b"<p>said</p>", *query.get("header", []))

    def do_steer(self, _request: Message, wire: Any) -> None:
        self.reply(wire, "200 OK", b"plain", "X-Accel-Redirect: /index.html", "X-Accel-Limit-Rate: 1")

    def do_events(self, _request: Message, wire: Any) -> None:
        """Send an event, and the next one only when the first has been seen."""
        wire.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in (b"data: 1\n\n", b"data: 2\n\n", b""):
            wire.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            wire.wfile.flush()
            self.go_on.wait(WAIT_S)

    def do_upload(self, request: Message, wire: Any) -> None:
        """Take the first chunk, tell so, and answer when the rest has come."""
        first = read_chunk(wire.rfile)
        self.go_on.set()
        request.body = first + read_body(request, wire.rfile)
        self.do_echo(request, wire)

    def do_websocket(self, request: Message, wire: Any) -> None:
        """Accept the upgrade (RFC 6455 section 4.2.2), then send everything back."""
        key = request.one("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        head = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
        ]
        wire.wfile.write("\r\n".join([*head, "", ""]).encode())
        while data := wire.connection.recv(4096):
            wire.connection.sendall(data)


@dataclass
class Client:
    """Speaks HTTP/1.1 with one port, one connection for each request."""

    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), WAIT_S)

    def raw(self, data: bytes) -> Message:
        """Send bytes and return the answer."""
        with self.connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(data)
            answer = read_head(stream)
            assert answer is not None, "no answer"
            answer.body = b"" if data.startswith(b"HEAD ") else read_body(answer, stream)
            return answer

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Message:
        sized = [f"Content-Length: {len(body)}"] if body else []
        head = [f"{method} {target} HTTP/1.1", f"Host: origin.test:{self.port}", *sized, *headers, "", ""]
        return self.raw("\r\n".join(head).encode("latin-1") + body)


@dataclass
class NameServer:
    """Answers every question for an IPv4 address (RFC 1035 section 4) with the addresses it is given at the moment."""

    addresses: list[str]
    port: int = 0
    server: socketserver.ThreadingUDPServer | None = None

    def start(self) -> Self:
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, wire = self.request
                wire.sendto(owner.answer(data), self.client_address)

        self.server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()

    def answer(self, asked: bytes) -> bytes:
        question = asked[12 : asked.index(b"\0", 12) + 5]
        is_ipv4 = question[-4:-2] == b"\0\1"
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 1, 4, socket.inet_aton(address))
            for address in self.addresses
            if is_ipv4
        ]
        head = asked[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
        return head + question + b"".join(records)
