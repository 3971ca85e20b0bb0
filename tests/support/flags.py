"""Definitions of flags for tests, and the questions that a page asks about them."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bff_proxy.flags.definitions import KEYS

SHIPPED = Path(__file__).parents[2] / "deploy/flags/flags.json"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Reading the machine's certificates, which nobody here needs, takes longer than most tests."""

TOKEN = "a token for tests"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
VARIANTS = {"on": True, "off": False}


def flag(default: str = "on", **more: Any) -> dict[str, Any]:
    """Return one flag of two variants."""
    return {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": default, **more}


def percentage(on: int, off: int | None = None) -> dict[str, Any]:
    """Return targeting that is on for a share of keys."""
    return {"fractional": [["on", on], ["off", 100 - on if off is None else off]]}


def document(flags: Mapping[str, Any] | None = None, more: Mapping[str, Any] | None = None) -> bytes:
    """Return a file of the four flags, all on but for those given, and what else stands beside them."""
    return json.dumps({"flags": {**{key: flag() for key in KEYS}, **(flags or {})}, **(more or {})}).encode()


def define(path: Path, flags: Mapping[str, Any] | None = None) -> None:
    """Put a file of definitions in the place of the one that is there."""
    put(path, document(flags))


def put(path: Path, data: bytes | None) -> None:
    """Put a file in the place of the one that is there, as an editor does; None takes it away."""
    if data is None:
        path.unlink()
        return
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


class Api:
    """Asks one proxy, or an origin, about its flags."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def flags(self, **query: str) -> dict[str, dict[str, Any]]:
        """Return all flags by key."""
        body = (await self.client.get("/api/v1/flags", params=query)).raise_for_status().json()
        return {found["key"]: found for found in body["flags"]}

    async def put(self, key: str, content: Any, **headers: str) -> httpx.Response:
        """Change a flag as an admin."""
        return await self.client.put(f"/api/v1/flags/{key}", json=content, headers={**ADMIN, **headers})

    async def give_back(self, key: str) -> httpx.Response:
        """Give a flag back to the file."""
        return await self.client.delete(f"/api/v1/flags/{key}", headers=ADMIN)

    async def turn(self, key: str, value: bool) -> None:
        """Turn a flag on or off, and expect that to succeed."""
        (await self.put(key, {"value": value, "reason": "because"})).raise_for_status()

    async def evaluate(self, context: Any = None, key: str = "", **headers: str) -> httpx.Response:
        """Ask as an OpenFeature provider does."""
        path = f"/ofrep/v1/evaluate/flags/{key}".rstrip("/")
        return await self.client.post(path, json={"context": context or {}}, headers=headers)

    async def metric(self, line: str) -> float:
        """Return the value of one line of the metrics, 0 if it is not there."""
        text = (await self.client.get("/metrics")).text
        return next((float(one.rsplit(" ", 1)[1]) for one in text.splitlines() if one.startswith(line + " ")), 0.0)

    @asynccontextmanager
    async def events(self, path: str = "/api/v1/flags/events", **headers: str) -> AsyncIterator["Events"]:
        """Listen for as long as the context lasts."""
        async with self.client.stream("GET", path, headers=headers) as response:
            response.raise_for_status()
            yield Events(response)


class Events:
    """A stream of Server-Sent Events as a page sees it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def block(self) -> list[str]:
        """Return the lines up to the next empty one, none at the end of the stream."""
        lines: list[str] = []
        async with asyncio.timeout(30):
            async for line in self._lines:
                if not line:
                    return lines
                lines.append(line)
        return lines

    async def next(self) -> dict[str, Any]:
        """Return the next event's fields, its data decoded; comments and `retry` are passed over."""
        while lines := await self.block():
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            if "data" in fields:
                return {**fields, "data": json.loads(fields["data"])}
        raise EOFError


@asynccontextmanager
async def asking(origin: str) -> AsyncIterator[Api]:
    """Talk to a proxy for as long as the context lasts."""
    async with httpx.AsyncClient(base_url=origin, timeout=30, verify=NO_TLS) as client:
        yield Api(client)


async def until(fact: Callable[[], Any]) -> None:
    """Wait until an awaited fact holds; the limit only guards against a hang."""
    async with asyncio.timeout(30):
        while not await fact():
            await asyncio.sleep(0.01)
