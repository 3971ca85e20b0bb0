"""The application factory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from starlette.types import ASGIApp

from bff_demo import control, errors, rest, stream
from bff_demo.access_log import AccessLog
from bff_demo.backend import open_backend
from bff_demo.interference import FaultBoard, Interference
from bff_demo.options import Options
from bff_demo.recorder import Recorder

__all__ = ["create_app"]

# Bodies of tens of megabytes are built in these threads; more at once would only cost memory.
_THREADS = 2


def create_app(options: Options | None = None) -> ASGIApp:
    """Return an ASGI application that serves the contract on data made now from `options.seed`."""
    options = options or Options()
    app = FastAPI(title="Backtests", lifespan=_lifespan)
    app.state.backend = open_backend(options)
    errors.install(app)
    app.include_router(rest.router)
    if options.part_routes:
        app.include_router(rest.parts)
    app.include_router(stream.router)
    inner: ASGIApp = AccessLog(app) if options.access_log else app
    if not options.faults:
        return inner
    board, recorder = FaultBoard(options.seed), Recorder()
    app.include_router(control.make_router(board, recorder))
    return Interference(inner, board, recorder)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield
