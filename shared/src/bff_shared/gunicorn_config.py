"""gunicorn's configuration for a service with several workers; gunicorn reads the names below."""

import os
import shutil
from typing import Any

from prometheus_client import multiprocess

from bff_shared.serve import METRICS_PREFIX
from bff_shared.settings import Settings, load

_settings = load(Settings)

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
worker_class = "bff_shared.worker.Worker"
graceful_timeout = int(_settings.shutdown_seconds + _settings.drain_seconds)
timeout = 60
keepalive = 75
accesslog = None
control_socket_disable = True
preload_app = False


def child_exit(server: Any, worker: Any) -> None:
    """Drop the gauges of a worker that is gone."""
    del server
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the library leaves it untyped


def on_exit(server: Any) -> None:
    """Remove the workers' metrics, unless somebody else chose where they go."""
    del server
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    if os.path.basename(folder).startswith(METRICS_PREFIX):  # noqa: PTH119  as it came from the environment
        shutil.rmtree(folder, ignore_errors=True)
