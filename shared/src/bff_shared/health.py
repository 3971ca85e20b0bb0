"""Health of a service: is the process alive, may it get traffic, how are the things it depends on.

A dependency that is gone degrades the service and does not kill it: ready stays 200 as long as the process can answer
anything at all, and turns 503 while it drains.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bff_shared.errors import BffError

Check = Callable[[], Awaitable[None]]
TIMEOUT = 1.0
FRESH = 1.0
log = logging.getLogger(__name__)


class CheckFailed(Exception):
    """A dependency is not usable; the text says why, without addresses."""


@dataclass(frozen=True, slots=True)
class State:
    """What one look at a dependency found."""

    latency_ms: float
    error: str | None
    seen: float

    def body(self) -> dict[str, Any]:
        """Return it as `/health` shows it."""
        status = {"status": "ok" if self.error is None else "down", "latency_ms": round(self.latency_ms, 2)}
        return status if self.error is None else {**status, "error": self.error}


class Health:
    """The state of one process and its dependencies.

    A look at a dependency takes at most one second and serves every question of the next second, so that probes from
    many sides do not add up to load.
    """

    def __init__(self, service: str, version: str, checks: Mapping[str, Check], clock: Callable[[], float]) -> None:
        self.service, self.version = service, version
        self.draining = False
        self._checks, self._clock = dict(checks), clock
        self._started = clock()
        self._states: dict[str, State] = {}
        self._lock = asyncio.Lock()

    async def report(self) -> dict[str, Any]:
        """Return the body of `/health`."""
        async with self._lock:
            await asyncio.gather(*(self._look(name) for name in self._checks))
        states = {name: state.body() for name, state in self._states.items()}
        healthy = all(state["status"] == "ok" for state in states.values())
        status = "draining" if self.draining else "ok" if healthy else "degraded"
        uptime = round(self._clock() - self._started, 1)
        head = {"service": self.service, "version": self.version, "status": status, "uptime_s": uptime}
        return {**head, "dependencies": states}

    async def _look(self, name: str) -> None:
        known = self._states.get(name)
        if known and self._clock() - known.seen < FRESH:
            return
        begun, error = time.perf_counter(), None
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._checks[name]()
        except TimeoutError:
            error = f"no answer within {TIMEOUT:g} s"
        except (CheckFailed, BffError) as failure:
            error = str(failure)
        except Exception:
            log.exception("health check of %s broke", name)
            error = "the check itself failed"
        self._states[name] = State((time.perf_counter() - begun) * 1000, error, self._clock())
