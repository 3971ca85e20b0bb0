"""The demo backend at the deployed one's pace, and the stand-in for the original BFF."""

import asyncio

import httpx
import pytest
from bench.lib import paced_backend
from bench.lib.paced_backend import Paced, due_after
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BARS = b'{"bars":[' + b",".join(b'{"t":"2024-01-02T14:30:00Z"}' for _ in range(400)) + b"]}"


@pytest.mark.parametrize(
    ("path", "bars", "recorded_ms"),
    [
        ("/bars/daily", 251, 10.4),
        ("/bars/hour", 1_757, 30),
        ("/bars/minute", 8_190, 73),
        ("/bars/minute", 94_700, 786),
        ("/bars/minute_decimated", 402, 27),
        ("/bars/minute_decimated", 2_327, 49),
    ],
)
def test_an_answer_is_due_when_the_deployed_backend_gave_it(path: str, bars: int, recorded_ms: float) -> None:
    assert due_after(path, b'{"t":1}' * bars) == pytest.approx(recorded_ms / 1000, rel=0.05)


async def test_the_stand_in_makes_one_call_for_a_chart_and_none_for_one_that_it_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, slept = list[str](), list[float]()

    async def backend(request: Request) -> Response:
        asked.append(str(request.url.path))
        return Response(BARS)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(paced_backend, "asyncio", type("clock", (), {"sleep": sleep, "Lock": asyncio.Lock}))
    paced = Paced("http://backend", "http://own")
    application = Starlette(routes=[Route("/original", paced.original), Route("/bars/minute", backend)])
    transport = httpx.ASGITransport(application)
    paced._self = httpx.AsyncClient(transport=transport, base_url="http://own")
    async with httpx.AsyncClient(transport=transport, base_url="http://own") as client:
        query = {"to": "100", "surplus_ms": "250", "warm_ms": "20", "keep": "k", "path": "/bars/minute?symbol=A"}
        answers = [await client.get("/original", params=query) for _ in range(2)]
    assert asked == ["/bars/minute"]
    assert slept == [0.25, 0.02]
    assert [len(answer.content) for answer in answers] == [round(len(BARS) / 4)] * 2
