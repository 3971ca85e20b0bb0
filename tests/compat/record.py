"""Record what a service leaves in Redis, at the release of a version: `python -m tests.compat.record SERVICE`."""

import asyncio
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import httpx
import redis
from pydantic import SecretStr

from bff_aggregator.app import create_app
from bff_aggregator.settings import AggregatorSettings
from bff_demo.options import Options
from bff_demo.server import DemoServer
from bff_proxy.app import create_app as create_proxy
from bff_proxy.flags.redis_store import HASH
from bff_proxy.settings import ProxySettings
from tests.compat.golden import DIGEST_KEY, Recording, strings
from tests.support.flags import SHIPPED, TOKEN, Api
from tests.support.playback import relaying, watching
from tests.support.redis_server import running
from tests.support.runs import RunBackend, source
from tests.support.serving import listening

FRAMES = 120
STOPPED_AT = 50
GIVEN_BACK = "run_data"
CHARTS = (
    "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-01-02&to_date=2024-03-28",
    "/api/v1/chart-data?symbol=AAPL&timeframe=1H&from_date=2024-07-01&to_date=2024-07-05&format=columns",
)


async def settled(client: "redis.Redis") -> dict[bytes, bytes]:
    """Return what is in Redis once nothing has come for a while: a part of it is written after the answer."""
    before, found = None, strings(client)
    while found != before:
        before = found
        await asyncio.sleep(1)
        found = strings(client)
    return found


def run_of(backend: str) -> str:
    """Return the run with the fewest points of equity."""
    items = httpx.get(f"{backend}/backtests?limit=100").json()["items"]
    points: dict[str, int] = {}
    for item in items:
        answer = httpx.get(f"{backend}/backtests/{item['run_id']}/equity", timeout=60)
        if answer.status_code == httpx.codes.OK and answer.json()["equity"] and item["status"] == "DONE":
            points[item["run_id"]] = len(answer.json()["equity"])
    return min(points, key=points.__getitem__)


async def aggregator() -> Recording:
    """Record charts and a complete run."""
    with DemoServer(Options()) as demo, running() as server, server.client() as client:
        run = await asyncio.to_thread(run_of, demo.url)
        paths = [*CHARTS, f"/api/v1/runs/{run}/complete?equity_points=100"]
        settings = AggregatorSettings(backend_url=demo.url, redis_url=server.url, digest_key=DIGEST_KEY)
        answers: dict[str, Any] = {}
        async with (
            listening(create_app(settings), force=True) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            for path in paths:
                answer = await http.get(path)
                answers[path] = {"status": answer.status_code, "body": answer.json()}
            values = await settled(client)
    return Recording("aggregator", version("bff-aggregator"), time.time(), values, answers)


async def proxy() -> Recording:
    """Record changes of flags, one of each kind, and one flag that was given back; they lie in a hash."""
    changes: dict[str, dict[str, Any]] = {
        "bff": {"value": False},
        "websocket": {"value": True},
        "chart_data": {"rollout": 25},
    }
    with running() as server, server.client() as client:
        settings = ProxySettings(redis_url=server.url, flags_file=str(SHIPPED), admin_token=SecretStr(TOKEN))
        async with (
            listening(create_proxy(settings), force=True) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            for key, change in changes.items():
                (await Api(http).put(key, {**change, "reason": "recorded"})).raise_for_status()
            (await Api(http).put(GIVEN_BACK, {"value": False, "reason": "recorded"})).raise_for_status()
            (await Api(http).give_back(GIVEN_BACK)).raise_for_status()
            flags = await Api(http).flags()
        fields = {name.decode(): value.decode() for name, value in client.hgetall(HASH).items()}
    more = {"hash": HASH, "fields": fields, "flags": flags}
    return Recording("proxy", version("bff-proxy"), time.time(), {}, {}, more)


async def wsrelay() -> Recording:
    """Record a run's frame log, and where a viewer stopped."""
    backend = RunBackend(source(FRAMES))
    await backend.start()
    with running() as server, server.client() as client:
        async with (
            relaying(backend.url, redis_url=server.url, digest_key=DIGEST_KEY) as relay,
            watching(relay.stream("?speed=3600&autoplay=1")) as viewer,
        ):
            await viewer.until_type("end")
            values = await settled(client)
    await backend.stop()
    more: dict[str, Any] = {"frames": backend.frames, "created_at": backend.created_at}
    more |= {"epoch": viewer.messages[0]["epoch"], "seq": STOPPED_AT}
    return Recording("wsrelay", version("bff-wsrelay"), time.time(), values, {}, more)


async def main(services: Sequence[str]) -> None:
    """Record the services that are named, as their next version where one is named with it (`aggregator=0.2.0`)."""
    versions = {service: version for service, _, version in (name.partition("=") for name in services)}
    for record in (proxy, aggregator, wsrelay):
        if record.__name__ not in versions:
            continue
        recording = await record()
        recording.version = versions[record.__name__] or recording.version
        path = recording.save()
        print(path.name, len(recording.values), "values,", path.stat().st_size, "bytes")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
