"""Runs that change while they are watched, and users who may not see them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from bff_aggregator.runs import revision
from bff_aggregator.runs.service import LEAD
from bff_demo.options import Options
from bff_demo.server import DemoServer

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
PARTS = ("metrics", "equity", "orders")


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Shifty:
    """A backend with one run, which moves on to its next state around its n-th call.

    Each state has parts of its own: as many points and orders as the state's number, and that as the total return.
    Answers of the kinds in `early` (run, parts) are evaluated before the move, others after it; the detail takes
    `pause` seconds, so that the parts are asked for without waiting for it.
    """

    STATES = ("QUEUED", "RUNNING", "DONE")

    def __init__(self, moves: list[int], *, early: str = "run parts", partial: bool = True, pause: float = 0.0) -> None:
        self.moves, self.early, self.partial, self.pause = moves, early, partial, pause
        self.created_at = datetime.now(UTC).isoformat()
        self.calls = 0
        self.revoked = False

    @property
    def state(self) -> int:
        return sum(self.calls >= move for move in self.moves)

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        path = scope["path"]
        before = self.evaluate(path)
        self.calls += 1
        await asyncio.sleep(0 if path.endswith(PARTS) else self.pause)
        kind = "parts" if path.endswith(PARTS) else "run"
        status, body = before if kind in self.early else self.evaluate(path)
        head = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        await send(head)
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def evaluate(self, path: str) -> tuple[int, Any]:
        if self.revoked:
            return 401, {"detail": "who are you?"}
        number, status = self.state + 1, self.STATES[self.state]
        part = path.rpartition("/")[2]
        if part not in PARTS:
            return 200, {"run_id": "r", "status": status, "created_at": self.created_at}
        if not self.partial and status != "DONE":
            return 404, {"error": {"code": "ARTIFACT_MISSING", "message": "not yet"}}
        rows = [{"timestamp": f"2025-01-02T14:3{i}:00Z", "equity": 1.0, "price": 1.0} for i in range(number)]
        return 200, {"total_return": number} if part == "metrics" else {part: rows}


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request look at the run anew."""
    monkeypatch.setattr(revision, "snapshot_lifetime", lambda _: 0.0)


def check_one_revision(body: dict[str, Any], shifty: Shifty) -> None:
    number = shifty.STATES.index(body["run"]["status"]) + 1
    for part in PARTS:
        state = body["metadata"]["parts"][part]["state"]
        found = body[part]["total_return"] if part == "metrics" and body[part] else body[part]
        size = len(found) if isinstance(found, list) else found
        if state == "ok":
            assert size == number
        elif state == "missing":
            assert (size, shifty.partial) == (None, False)
            assert body["run"]["status"] != "DONE"


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("pause", "partial", "early"),
    [
        (0.0, True, "run parts"),
        (0.0, False, "run parts"),
        (8 * LEAD, True, "run parts"),
        (8 * LEAD, True, "parts"),
        (8 * LEAD, True, "run"),
        (8 * LEAD, False, "parts"),
    ],
)
async def test_answer_never_mixes_two_states_whenever_the_run_moves_on(
    start_app: StartApp, start_aggregator: StartAggregator, pause: float, partial: bool, early: str
) -> None:
    runs = {f"r{move}": Shifty([0, move], early=early, partial=partial, pause=pause) for move in range(1, 10)}

    async def backend(scope: Any, receive: Any, send: Any) -> None:
        await runs[scope["path"].split("/")[2]](scope, receive, send)

    client = await start_aggregator(backend_url=await start_app(backend))
    for name, shifty in runs.items():
        for _ in range(2):
            check_one_revision((await client.get(f"/api/v1/runs/{name}/complete")).json(), shifty)
        shifty.calls = 100
        body = (await client.get(f"/api/v1/runs/{name}/complete")).json()
        assert body["run"]["status"] == "DONE"
        assert {body["metadata"]["parts"][part]["state"] for part in PARTS} == {"ok"}
        check_one_revision(body, shifty)


@pytest.mark.usefixtures("_impatient")
async def test_run_that_never_stands_still_is_not_shown_with_parts(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = iter(range(10_000))
    monkeypatch.setattr(revision, "revision_of", lambda _: str(next(counter)))
    client = await start_aggregator(backend_url=await start_app(Shifty([0])))
    body = (await client.get("/api/v1/runs/r/complete")).json()
    assert {body["metadata"]["parts"][part]["state"] for part in PARTS} == {"timeout"}
    assert [body[part] for part in PARTS] == [None] * 3


@pytest.fixture
def clocked() -> Iterator[tuple[DemoServer, Clock]]:
    clock = Clock()
    with DemoServer(Options(clock=clock)) as server:
        yield server, clock


@pytest.mark.usefixtures("_impatient")
async def test_run_is_watched_from_queued_to_done(
    clocked: tuple[DemoServer, Clock], start_aggregator: StartAggregator
) -> None:
    server, clock = clocked
    client = await start_aggregator(backend_url=server.url)
    wanted = {"strategy_id": "sma_crossover", "params": {"fast": 3, "slow": 9}, "symbol": "SPY", "year": 2024}
    wanted |= {"from": "2024-03-04", "to": "2024-03-08"}
    async with httpx.AsyncClient(base_url=server.url) as direct:
        run = (await direct.post("/backtests", json=wanted)).json()["run_id"]
    seen, revisions = [], []
    for _ in range(5):
        body = (await client.get(f"/api/v1/runs/{run}/complete")).json()
        light = (await client.get(f"/api/v1/runs/{run}/status")).json()
        states = {body["metadata"]["parts"][part]["state"] for part in PARTS}
        assert states == ({"ok"} if body["run"]["status"] == "DONE" else {"missing"})
        assert (light["status"], light["revision"]) == (body["run"]["status"], body["metadata"]["revision"])
        seen.append(body["run"]["status"])
        revisions.append(body["metadata"]["revision"])
        clock.now += 1.0
    assert seen == ["QUEUED", "RUNNING", "RUNNING", "DONE", "DONE"]
    assert len(set(revisions)) == 3
    assert len(body["equity"]) == 5 * 390


def test_looks_are_good_for_a_second_while_a_run_can_change_and_for_less_than_a_minute_after() -> None:
    running = revision.take_snapshot({"status": "RUNNING"}, None, 0.0)
    done = revision.take_snapshot({"status": "DONE"}, None, 0.0)
    assert revision.snapshot_lifetime(running) <= 1.0
    assert revision.snapshot_lifetime(done) <= 60.0


@pytest.fixture
def guarded() -> Iterator[DemoServer]:
    with DemoServer(Options(tokens={"alice": "tokA", "bob": "tokB"})) as server:
        yield server


@pytest.fixture
async def backend(guarded: DemoServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=guarded.url) as client:
        yield client


async def test_no_user_sees_anothers_run(
    guarded: DemoServer, backend: httpx.AsyncClient, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=guarded.url)
    alice, bob = ({"authorization": f"Bearer {token}"} for token in ("tokA", "tokB"))
    items = (await client.get("/api/v1/runs?limit=100", headers=alice)).json()["items"]
    run = next(item["run_id"] for item in items if item["run_to"] in {"2024-06-30", "2024-11-30", "2025-03-31"})
    path = f"/api/v1/runs/{run}/complete"
    first = await client.get(path, headers=alice)
    assert first.status_code == 200
    for headers, status in ((bob, 403), ({}, 401), ({"authorization": "Bearer tokC"}, 401), ({"cookie": "a=b"}, 401)):
        for suffix in ("complete", "status"):
            answer = await client.get(f"/api/v1/runs/{run}/{suffix}", headers=headers)
            direct = await backend.get(f"/backtests/{run}", headers=headers)
            assert (answer.status_code, answer.content) == (status, direct.content)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers.get("www-authenticate") == direct.headers.get("www-authenticate")
    not_modified = await client.get(path, headers={**bob, "if-none-match": first.headers["etag"]})
    assert not_modified.status_code == 403
    theirs = (await client.get("/api/v1/runs?limit=100", headers=bob)).json()["items"]
    assert not {item["run_id"] for item in theirs} & {item["run_id"] for item in items}
    assert (await client.get("/api/v1/runs")).status_code == 401
    assert (await client.get(path, headers=alice)).json()["metadata"]["cache_hit"] is True


@pytest.mark.usefixtures("_impatient")
async def test_revoked_token_sees_nothing_at_the_next_look_and_nothing_is_left(
    start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    shifty = Shifty([0, 0])
    client = await start_aggregator(backend_url=await start_app(shifty))
    assert (await client.get("/api/v1/runs/r/complete")).status_code == 200
    shifty.revoked = True
    answer = await client.get("/api/v1/runs/r/complete")
    assert (answer.status_code, answer.json()) == (401, {"detail": "who are you?"})
    shifty.revoked = False
    assert (await client.get("/api/v1/runs/r/complete")).json()["metadata"]["backend_calls"] == 4


async def test_refusals_are_asked_again(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.runs.service.LEAD", 60.0)  # no part is asked for before the run was looked at
    shifty = Shifty([0, 0])
    shifty.revoked = True
    client = await start_aggregator(backend_url=await start_app(shifty))
    for _ in range(2):
        assert (await client.get("/api/v1/runs/r/complete")).status_code == 401
    assert shifty.calls == 2
