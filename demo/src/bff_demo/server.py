"""Running the demo backend: in this process until a signal, or in a thread for as long as a `with` block lasts."""

import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from bff_demo.app import create_app
from bff_demo.options import Options

__all__ = ["DemoServer", "make_server"]

_START_SECONDS = 20.0
# Time for answers on their way when told to stop; open WebSockets are closed at once (1012).
_GRACE_SECONDS = 1


class _Server(uvicorn.Server):
    """Knows the port that it was given, and says so once it listens."""

    announce = False

    @property
    def port(self) -> int:
        """The port it listens on; valid once `started`."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then announce the address."""
        await super().startup(sockets)
        if self.started and self.announce:
            print(f"demo backend listening on http://{self.config.host}:{self.port}", flush=True)


def make_server(app: ASGIApp, host: str, port: int, *, announce: bool = False) -> _Server:
    """Return a server that is not yet running; port 0 takes any free one."""
    config = uvicorn.Config(
        app, host=host, port=port, log_level="error", access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    server = _Server(config)
    server.announce = announce
    return server


class DemoServer:
    """A demo backend on 127.0.0.1 in a thread of this process.

    `with DemoServer(Options(faults=True)) as demo:` starts it and stops it; `demo.url` is its base URL. With the `port`
    of one that has stopped it comes back at the same address, as a restarted backend would. Raises RuntimeError when it
    is not up within 20 s.
    """

    def __init__(self, options: Options | None = None, port: int = 0) -> None:
        self._server = make_server(create_app(options), "127.0.0.1", port)
        self._thread = threading.Thread(target=self._server.run, name="demo-backend", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """`ws://127.0.0.1:port`, without a slash at the end."""
        return f"ws://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the demo backend did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop: open WebSockets are closed, answers on their way get a second."""
        self._server.should_exit = True
        self._thread.join(_START_SECONDS)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
