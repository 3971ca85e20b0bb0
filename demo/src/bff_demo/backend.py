"""The one object that a running demo backend consists of, and how a route gets hold of it and of its caller."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from bff_demo import auth
from bff_demo.market import Market, build_market
from bff_demo.options import Options
from bff_demo.runs import Registry, Run

__all__ = ["Backend", "BackendDep", "CallerDep", "open_backend", "owned_run"]


@dataclass(frozen=True, slots=True)
class Backend:
    """Options, bars and runs of one demo backend."""

    options: Options
    market: Market
    registry: Registry


def open_backend(options: Options) -> Backend:
    """Make the data of a backend: well under a second of work, less when the seed was the last one used."""
    market = build_market(options.seed, early_closes=options.early_closes)
    return Backend(options, market, Registry(options, market))


def owned_run(backend: Backend, run_id: str, caller: str) -> Run:
    """Return the caller's run. Raises RunNotFound before Forbidden."""
    run = backend.registry.find(run_id)
    auth.check_owner(caller, run.owner)
    return run


def _backend(connection: HTTPConnection) -> Backend:
    backend: Backend = connection.app.state.backend
    return backend


def _caller(connection: HTTPConnection) -> str:
    tokens = _backend(connection).options.tokens
    return auth.identify(tokens, connection.headers.get("authorization"), connection.cookies)


BackendDep = Annotated[Backend, Depends(_backend)]
CallerDep = Annotated[str, Depends(_caller)]
