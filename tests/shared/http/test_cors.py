from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from bff_shared.http.cors import cors
from bff_shared.settings import Settings

PREFLIGHT = {"access-control-request-method": "PUT", "access-control-request-headers": "x-a"}


def client(*allowed: str) -> httpx.AsyncClient:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(scope["method"])(scope, receive, send)

    settings = Settings(allowed_origins=allowed)
    return httpx.AsyncClient(transport=httpx.ASGITransport(cors(app, settings)), base_url="http://own.example")


async def test_nothing_is_added_unless_configured() -> None:
    async with client() as http:
        answer = await http.options("/", headers={"origin": "https://shop.example", **PREFLIGHT})
    assert answer.text == "OPTIONS"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", ["https://a.shop.example", "https://A.SHOP.example"])
async def test_configured_origin_may_read_with_credentials(origin: str) -> None:
    async with client("https://*.shop.example") as http:
        answer = await http.get("/", headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


async def test_preflight_of_a_configured_origin_is_answered() -> None:
    async with client("https://shop.example") as http:
        answer = await http.options("/", headers={"origin": "https://shop.example", **PREFLIGHT})
    assert answer.status_code == 200
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "x-a"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil.example", "null"])
async def test_other_origins_may_not_read(origin: str) -> None:
    async with client("https://shop.example") as http:
        answer = await http.get("/", headers={"origin": origin})
    assert "access-control-allow-origin" not in answer.headers


async def test_everybody_means_without_credentials() -> None:
    async with client("*") as http:
        answer = await http.get("/", headers={"origin": "https://evil.example", "cookie": "session=1"})
    assert "access-control-allow-credentials" not in answer.headers
