"""gunicorn's worker: a uvicorn server that drains as the single-process one does."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from bff_shared.serve import Server, uvicorn_options
from bff_shared.settings import Settings, load
from bff_shared.telemetry.metrics import Metrics

REFRESH_SECONDS = 2.0


@contextlib.contextmanager
def refreshed(metrics: Metrics) -> Iterator[None]:
    """Write this worker's gauges to where the others find them, as long as the context lasts."""

    async def refresh() -> None:
        while True:
            metrics.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    task = asyncio.get_running_loop().create_task(refresh(), name="refresh gauges")
    try:
        yield
    finally:
        task.cancel()


class Worker(UvicornWorker):
    """Runs one app in one process under gunicorn's arbiter."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        key: value for key, value in uvicorn_options(load(Settings)).items() if key != "log_config"
    }

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        service = self.wsgi.state.service
        for name, value in service.server.items():
            setattr(self.config, name, value)
        server = Server(self.config, service)
        self._install_sigquit_handler()
        with refreshed(service.metrics):
            await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
