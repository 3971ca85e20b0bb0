"""Background tasks go on after an exception that nobody expected."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from bff_shared import supervision
from bff_shared.supervision import keep_running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.001)


async def test_work_that_fails_is_logged_and_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("nobody expected this")

    async with asyncio.timeout(30):
        await keep_running("a task", work)
    assert runs == 3
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["task_name"] for record in records] == ["a task"] * 2
    assert "nobody expected this" in caplog.text


async def test_pauses_grow_up_to_a_bound_and_start_again_after_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    now, runs = 0.0, 0

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def work() -> None:
        nonlocal now, runs
        runs += 1
        if runs == 9:
            now += 100
        if runs < 10:
            raise OSError

    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr("bff_shared.supervision.random.uniform", lambda _low, high: high)
    # In that module alone: the loop and servers of other threads sleep and look at the clock too.
    monkeypatch.setattr(supervision, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: now))
    await keep_running("a task", work)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5]


async def test_a_pause_is_drawn_between_half_of_its_bound_and_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    async def work() -> None:
        if len(drawn) < 3:
            raise OSError

    monkeypatch.setattr(supervision, "FIRST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr("bff_shared.supervision.random.uniform", uniform)
    await keep_running("a task", work)
    assert drawn == [(0.25, 0.5), (0.5, 1.0), (1.0, 2.0)]


async def test_work_is_cancelled_with_its_task() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_running("a task", work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
