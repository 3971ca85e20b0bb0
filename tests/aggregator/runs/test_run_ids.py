"""A run is opened under the backend's own id, whatever printable text that is."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.foreign import GOOD, ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]


@pytest.mark.parametrize("path", ["complete", "status", "view"])
@pytest.mark.parametrize("run", ["sma:AAPL:7", "2024-01-02T14:30:00", "a~b", "YWJj==", "a b+c%20", "ß", "x" * 129])
async def test_a_run_of_any_printable_id_is_opened(
    run: str, path: str, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    renamed = {name.replace("/backtests/r", f"/backtests/{run}"): body for name, body in GOOD.items()}
    backend = ForeignBackend(
        {name: body.replace(b'"run_id":"r"', b'"run_id":"%b"' % run.encode()) for name, body in renamed.items()}
    )
    client = await start_aggregator(backend_url=await start_app(backend))
    answer = await client.get(f"/api/v1/runs/{quote(run, safe='')}/{path}")
    assert answer.status_code == 200, answer.text
    if path == "complete":
        whole = answer.json()
        assert (whole["run"]["run_id"], whole["metadata"]["partial_data"]) == (run, False)
    assert backend.calls[f"/backtests/{run}"] >= 1
    assert all(name == "/backtests" or run in name or name.startswith("/bars") for name in backend.calls)
