"""The application factory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from bff_demo import errors, rest, stream
from bff_demo.backend import open_backend
from bff_demo.options import Options

__all__ = ["create_app"]

# Bodies of tens of megabytes are built in these threads; more at once would only cost memory.
_THREADS = 3


def create_app(options: Options | None = None) -> FastAPI:
    """Return an ASGI application that serves the contract on data made now from `options.seed`."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = FastAPI(title="Backtests", lifespan=lifespan)
    app.state.backend = open_backend(options or Options())
    errors.install(app)
    app.include_router(rest.router)
    app.include_router(stream.router)
    return app
