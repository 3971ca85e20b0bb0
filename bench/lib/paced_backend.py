"""The demo backend at the pace of the deployed one, and a stand-in for the original BFF in front of it.

Usage: python -m bench.lib.paced_backend PORT BACKEND_PORT

`/bars/…` answers what the backend answers, after the time that the deployed backend was seen to take: some for each
request, and some for each bar. It has one worker, so requests wait for each other.

`/original?to=TARGET&surplus_ms=…&warm_ms=…&keep=…&path=…` does what the original BFF does for a chart: it asks for the
whole window, takes `surplus_ms` longer than that call and answers about TARGET bars; asked again for what it keeps (by
`keep`), it takes `warm_ms`. Both were recorded, see `bench/scenarios/original.py`.
"""

import asyncio
import sys
import time
from typing import NamedTuple

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Pace(NamedTuple):
    """Seconds of a request, and of each bar in its answer."""

    request: float
    bar: float


PACES = {
    "/bars/daily": Pace(0.008, 9.5e-6),
    "/bars/hour": Pace(0.012, 10e-6),
    "/bars/minute": Pace(0.009, 8e-6),
    "/bars/minute_decimated": Pace(0.022, 12e-6),
}
"""Fitted to medians of direct calls: a year of days 10 ms, of hours 30, of minutes 770, 8,190 minutes 74, a year
decimated to 402 bars 27 and to 2,327 bars 49."""
A_BAR = b'"t":'


def due_after(path: str, content: bytes) -> float:
    """Return how many seconds the deployed backend takes for an answer."""
    pace = PACES.get(path, Pace(0.005, 0.0))
    return pace.request + pace.bar * content.count(A_BAR)


class Paced:
    """The two servers, which share a client."""

    def __init__(self, backend: str, own: str) -> None:
        self._client, self._self = (httpx.AsyncClient(base_url=url, timeout=60) for url in (backend, own))
        self._worker = asyncio.Lock()
        self._kept: dict[str, bytes] = {}

    async def forward(self, request: Request) -> Response:
        """Answer what the backend answers, at the deployed one's pace."""
        async with self._worker:
            begun = time.perf_counter()
            answer = await self._client.get(str(request.url.replace(scheme="", netloc="")))
            due = due_after(request.url.path, answer.content)
            await asyncio.sleep(max(0.0, begun + due - time.perf_counter()))
        return Response(answer.content, answer.status_code, media_type="application/json")

    async def original(self, request: Request) -> Response:
        """Answer a chart as the original BFF does."""
        asked = request.query_params
        if (kept := self._kept.get(asked["keep"])) is not None:
            await asyncio.sleep(float(asked["warm_ms"]) / 1000)
            return Response(kept, media_type="application/json")
        content = (await self._self.get(asked["path"])).content
        await asyncio.sleep(float(asked["surplus_ms"]) / 1000)
        share = min(1.0, int(asked["to"]) / max(1, content.count(A_BAR)))
        self._kept[asked["keep"]] = kept = content[: round(len(content) * share)]
        return Response(kept, media_type="application/json")


def main(port: int, backend: int) -> None:
    """Serve until the process is ended."""
    paced = Paced(f"http://127.0.0.1:{backend}", f"http://127.0.0.1:{port}")
    routes = [Route("/original", paced.original), Route("/{path:path}", paced.forward)]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
