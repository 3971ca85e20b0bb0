"""Work beside the event loop: so much at a time, by turns, and nothing that nobody waits for."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from prometheus_client import CollectorRegistry

from bff_aggregator.http import cpu_limiter
from bff_aggregator.http.cpu_limiter import SMALL_BYTES, CpuLimiter
from bff_aggregator.http.steps import Steps
from bff_shared.errors import Busy, ClientBusy
from bff_shared.http.context import RequestContext, enter
from bff_shared.http.ids import trace

WAIT_S = 10.0
LARGE = SMALL_BYTES


@asynccontextmanager
async def limiter(threads: int = 1, queue: int = 100, seconds: float = WAIT_S) -> AsyncIterator[CpuLimiter]:
    made = CpuLimiter(threads, queue, 0.5, seconds, CollectorRegistry())
    yield made
    await made.aclose()


@contextmanager
def occupied(cpu: CpuLimiter) -> Iterator[asyncio.Task[bool]]:
    """Keep the only thread busy while the block runs."""
    free = threading.Event()
    task: asyncio.Task[bool] = asyncio.create_task(cpu.run(LARGE, free.wait, WAIT_S))
    try:
        yield task
    finally:
        free.set()


async def as_client(name: str, cpu: CpuLimiter, done: list[str], size: int = LARGE) -> None:
    enter(RequestContext("id", trace(None), client=name.split()[0]))
    await cpu.run(size, done.append, name)


async def test_no_more_than_so_many_threads_compute_at_once() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.005)
        with lock:
            inside -= 1

    async with limiter(threads=2) as cpu:
        await asyncio.gather(*(cpu.run(LARGE, work) for _ in range(20)))
    assert most == 2


async def test_clients_take_turns() -> None:
    done: list[str] = []
    async with limiter() as cpu:
        with occupied(cpu):
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(as_client(f"greedy {number}", cpu, done)) for number in range(5)]
            await asyncio.sleep(0)
            waiting.append(asyncio.create_task(as_client("honest", cpu, done)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
    assert done.index("honest") <= 1


async def test_long_work_lets_others_in_between_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_limiter, "SLICE_SECONDS", 0.0)
    order: list[str] = []
    begun = threading.Event()

    def steps() -> Steps[str]:
        for number in range(100):
            order.append(f"step {number}")
            begun.set()
            yield
        return "made"

    async with limiter() as cpu:
        long = asyncio.create_task(cpu.steps(100 * LARGE, steps()))
        await asyncio.to_thread(begun.wait, WAIT_S)
        await as_client("honest", cpu, order)
        assert not long.done()
        assert await long == "made"
    assert order.index("honest") < 100


async def test_what_nobody_waits_for_is_not_computed() -> None:
    done: list[str] = []
    async with limiter() as cpu:
        with occupied(cpu):
            await asyncio.sleep(0)
            gone = asyncio.create_task(as_client("gone", cpu, done))
            wanted = asyncio.create_task(as_client("wanted", cpu, done))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait((gone,))
        await wanted
    assert done == ["wanted"]


async def test_work_that_was_begun_ends_with_the_step_under_way_when_nobody_waits_for_it() -> None:
    begun, closed, count = threading.Event(), asyncio.Event(), 0

    def steps() -> Steps[None]:
        nonlocal count
        try:
            while True:
                count += 1
                begun.set()
                time.sleep(0.001)
                yield
        finally:
            closed.set()

    async with limiter() as cpu:
        task = asyncio.create_task(cpu.steps(LARGE, steps()))
        await asyncio.to_thread(begun.wait, WAIT_S)
        task.cancel()
        async with asyncio.timeout(WAIT_S):
            await closed.wait()
        seen = count
        await cpu.run(LARGE, time.sleep, 0.005)
        assert count == seen


async def test_too_much_is_refused_by_client_and_for_all() -> None:
    done: list[str] = []
    async with limiter(queue=4) as cpu:
        with occupied(cpu):
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(as_client(f"greedy {number}", cpu, done)) for number in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(ClientBusy):
                await as_client("greedy again", cpu, done)
            waiting += [asyncio.create_task(as_client(f"other {number}", cpu, done)) for number in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Busy) as refused:
                await as_client("third", cpu, done)
            assert type(refused.value) is Busy
        await asyncio.gather(*waiting)


async def test_work_that_takes_too_long_with_its_waiting_is_refused() -> None:
    async with limiter(seconds=0.01) as cpu:
        with occupied(cpu) as first:
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await cpu.run(LARGE, lambda: None)
            with pytest.raises(Busy):
                await first


async def test_a_failure_is_its_callers_and_leaves_the_thread_to_others() -> None:
    def failing() -> Steps[None]:
        yield
        raise ValueError("no")

    async with limiter() as cpu:
        with pytest.raises(ValueError, match="no"):
            await cpu.steps(LARGE, failing())
        assert await cpu.run(LARGE, lambda: 1) == 1
        with pytest.raises(ValueError, match="no"):
            await cpu.steps(1, failing())


async def test_small_work_is_done_at_once() -> None:
    async with limiter() as cpu:
        with occupied(cpu):
            await asyncio.sleep(0)
            assert await cpu.run(LARGE - 1, threading.current_thread) is threading.main_thread()


async def test_closing_ends_what_still_waits() -> None:
    async with limiter() as cpu:
        with occupied(cpu):
            waiting = asyncio.create_task(cpu.run(LARGE, int))
            while "waiting=1" not in repr(cpu):
                await asyncio.sleep(0)
            assert repr(cpu) == "<CpuLimiter active=1/1 waiting=1>"
            await cpu.aclose()
            with pytest.raises(asyncio.CancelledError):
                await waiting
