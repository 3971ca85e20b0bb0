from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bff_demo.options import Options
from bff_demo.server import DemoServer

BODY = {"strategy_id": "sma_crossover", "params": {"fast": 5, "slow": 30}, "symbol": "AAPL", "year": 2024}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def posting(clock: Clock) -> Iterator[httpx.Client]:
    options = Options(clock=clock, queue_seconds=1, work_seconds=2, created_limit=3)
    with DemoServer(options) as demo, httpx.Client(base_url=demo.url) as client:
        yield client


def post(
    client: httpx.Client, key: str | None = None, header: str = "Idempotency-Key", **changes: Any
) -> httpx.Response:
    body = {name: value for name, value in (BODY | changes).items() if value is not None}
    return client.post("/backtests", json=body, headers={header: key} if key else {})


def test_posted_run_is_queued_then_runs_then_is_done(posting: httpx.Client, clock: Clock) -> None:
    answer = post(posting)
    run = answer.json()["run_id"]
    assert (answer.status_code, answer.json()["status"], len(run)) == (202, "QUEUED", 32)
    seen = []
    for _ in range(4):
        detail = posting.get(f"/backtests/{run}").json()
        seen.append((detail["status"], posting.get(f"/backtests/{run}/equity").status_code))
        clock.now += 1
    assert seen == [("QUEUED", 404), ("RUNNING", 404), ("RUNNING", 404), ("DONE", 200)]
    assert len(posting.get(f"/backtests/{run}/equity").json()["equity"]) == 249 * 390 + 3 * 210
    assert posting.get("/backtests", params={"limit": 1}).json()["items"][0]["run_id"] == run


def test_same_inputs_exist_already(posting: httpx.Client) -> None:
    first = post(posting)
    again = post(posting, symbol=None, year=None, dataset_id="AAPL-2024-1m")
    assert (again.status_code, again.json()) == (200, {"run_id": first.json()["run_id"], "status": "EXISTS"})
    assert post(posting, params={"fast": 6, "slow": 30}).status_code == 202


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Idempotency-Key"])
def test_same_key_exists_already_whatever_the_inputs(posting: httpx.Client, header: str) -> None:
    first = post(posting, "k1", header)
    again = post(posting, "k1", header, symbol="MSFT")
    assert (again.status_code, again.json()["run_id"]) == (200, first.json()["run_id"])


def test_seeded_run_exists_already(posting: httpx.Client, find_run: Callable[..., str]) -> None:
    window = {"from": "2024-10-01", "to": "2024-12-31"}
    answer = post(posting, symbol="TSLA", params={"fast": 20, "slow": 50}, **window)
    assert answer.json() == {"run_id": find_run("TSLA", "2024-10-01", "2024-12-31"), "status": "EXISTS"}


def test_run_ids_depend_on_inputs_only(posting: httpx.Client) -> None:
    run = post(posting).json()["run_id"]
    with DemoServer() as other, httpx.Client(base_url=other.url) as client:
        assert post(client).json()["run_id"] == run


def test_oldest_posted_run_makes_room(posting: httpx.Client) -> None:
    ids = [post(posting, f"key{fast}", params={"fast": fast, "slow": 30}).json()["run_id"] for fast in (1, 2, 3, 4)]
    assert [posting.get(f"/backtests/{run}").status_code for run in ids] == [404, 200, 200, 200]
    again = post(posting, "key1", params={"fast": 1, "slow": 30})
    assert (again.status_code, again.json()["run_id"]) == (202, ids[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy_id": None}, {"strategy_id": ""}, {"strategy_id": 5}, {"params": None}, {"params": []},
        {"params": {"fast": 50, "slow": 20}}, {"params": {"fast": 0}}, {"params": {"fast": True}},
        {"params": {"slow": "50"}}, {"symbol": None}, {"year": None}, {"year": "2024"}, {"symbol": 5},
        {"dataset_id": "AAPL"}, {"dataset_id": 7}, {"from": "2024-1-1"}, {"from": 20240101}, {"to": "2023-12-31"},
        {"seed": 1.5}, {"speed": 0}, {"speed": "fast"}, {"slippage_fees": 3}, {"params": {"qty": 0}},
    ],
)  # fmt: skip
def test_bad_input_is_a_canonical_400(client: httpx.Client, changes: dict[str, Any]) -> None:
    answer = post(client, **changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff", b'{"a": "' + b"x" * (1 << 16) + b'"}'])
def test_body_that_is_no_object_is_400(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/backtests", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


def test_long_idempotency_key_is_400(client: httpx.Client) -> None:
    assert post(client, "k" * 256).status_code == 400


def test_key_of_a_run_that_made_room_names_the_new_one(posting: httpx.Client) -> None:
    for fast in (1, 2, 3, 4):
        post(posting, "key" if fast == 1 else None, params={"fast": fast, "slow": 30})
    renewed = post(posting, "key", params={"fast": 9, "slow": 30})
    again = post(posting, "key", params={"fast": 10, "slow": 30})
    assert (renewed.status_code, again.status_code) == (202, 200)
    assert again.json()["run_id"] == renewed.json()["run_id"]


@pytest.mark.parametrize("changes", [{"symbol": "ZZZ"}, {"year": 2019}])
def test_dataset_that_does_not_exist_is_404(client: httpx.Client, changes: dict[str, Any]) -> None:
    answer = post(client, **changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DATASET_NOT_FOUND")
