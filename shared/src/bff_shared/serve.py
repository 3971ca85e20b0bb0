"""How a service's process runs and ends: uvicorn for one worker, gunicorn over uvicorn workers for several.

uvicorn closes every WebSocket (1012) the moment it handles SIGTERM, so draining comes first: ready turns 503, the
service's drain hooks run, answers carry `Connection: close` for `drain_seconds`, and only then uvicorn is told to end.
A second signal ends the wait.
"""

import asyncio
import contextlib
import inspect
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from bff_shared.app import Service
from bff_shared.http.server import HttpProtocol
from bff_shared.settings import S, Settings, SettingsError, load
from bff_shared.telemetry import logs

log = logging.getLogger(__name__)
METRICS_PREFIX = "bff-metrics-"


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return the options every uvicorn of ours runs with; logging and headers are the app's own affair."""
    return {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "proxy_headers": False,
        "http": HttpProtocol,
        "ws": "none",
        "ws_per_message_deflate": False,
        "lifespan": "on",
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": int(settings.shutdown_seconds),
    }


class Server(uvicorn.Server):
    """A uvicorn server that drains before it shuts down."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        logs.configure(service.name, service.settings.log_level, service.settings.log_format)
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain on the first signal; on the second, stop at once."""
        if self._service.health.draining or not self.started:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._service.health.draining = True
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._draining = asyncio.get_running_loop().create_task(self._drain(), name="drain")

    async def _drain(self) -> None:
        settings = self._service.settings
        log.info("draining", extra={"seconds": settings.drain_seconds})
        try:
            async with asyncio.timeout(settings.shutdown_seconds):
                for hook in self._service.on_drain:
                    result = hook()
                    if inspect.isawaitable(result):
                        await result
                await asyncio.sleep(settings.drain_seconds)
        except TimeoutError:
            log.warning("draining took too long")
        finally:
            self.should_exit = True


def run(kind: type[S], module: str, factory: Callable[[S], FastAPI]) -> None:
    """Run a service to its end; a bad setting is one line on standard error and exit status 2.

    `module:create_app` must name `factory` with settings from the environment, because gunicorn's workers import it.
    """
    try:
        settings = load(kind)
    except SettingsError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        sys.exit(2)
    if settings.workers > 1:
        _exec_gunicorn(settings, f"{module}:create_app()")
    app = factory(settings)
    service: Service = app.state.service
    options = {**uvicorn_options(settings), **service.server}
    server = Server(uvicorn.Config(app, host=settings.host, port=settings.port, **options), service)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


def _exec_gunicorn(settings: Settings, target: str) -> None:
    """Become a gunicorn arbiter; its workers add their metrics up through files."""
    os.environ["BFF_PORT"] = str(settings.port)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix=METRICS_PREFIX))
    arguments = ["-m", "gunicorn", "--config", "python:bff_shared.gunicorn_config", target]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  our own interpreter, no shell
