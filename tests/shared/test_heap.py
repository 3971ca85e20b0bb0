"""What large bodies leave free in the C library's heap goes back to the system."""

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from fastapi import FastAPI

from bff_shared.app import create_app
from bff_shared.heap import FREE_BYTES, GlibcHeap, Heap, system_heap, trimming
from bff_shared.settings import Settings
from bff_shared.telemetry.metrics import Metrics
from tests.shared.test_app import nothing

needs_glibc = pytest.mark.skipif(system_heap() is None, reason="the C library is not glibc")
MEBI = 1024 * 1024
BLOCKS, BLOCK_BYTES = 400, 100_000
"""Blocks smaller than those that glibc takes from the system one by one."""

WAIT_S = 30.0


class Leftovers:
    """A heap with so many free bytes, which are there again after each trim; it fails `failures` times."""

    def __init__(self, free: int, failures: int = 0) -> None:
        self.free, self.failures = free, failures
        self.looks = self.trims = 0
        self.looked = asyncio.Event()

    def free_bytes(self) -> int:
        self.looks += 1
        if self.looks > 3:
            self._loop.call_soon_threadsafe(self.looked.set)
        if self.looks <= self.failures:
            raise OSError("no look at the heap")
        return self.free

    def trim(self) -> None:
        self.trims += 1

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with trimming(self, seconds=0.001), asyncio.timeout(WAIT_S):
            await self.looked.wait()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leave_holes() -> bytes:
    """Free many blocks below one that is returned, so that the heap cannot shrink from its end."""
    blocks = [bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
    return bytes(blocks.pop())


@needs_glibc
def test_pages_between_blocks_in_use_are_given_back() -> None:
    heap = GlibcHeap()
    heap.trim()
    pin = leave_holes()
    assert heap.free_bytes() > BLOCKS * BLOCK_BYTES // 2
    before = resident()
    heap.trim()
    assert resident() < before - BLOCKS * BLOCK_BYTES // 2
    assert len(pin) == BLOCK_BYTES


async def test_a_heap_with_much_free_is_trimmed_again_and_again() -> None:
    heap = Leftovers(FREE_BYTES + 1)
    await heap.wait()
    assert heap.trims >= 3


async def test_a_heap_with_little_free_is_left_alone() -> None:
    heap = Leftovers(FREE_BYTES)
    await heap.wait()
    assert heap.trims == 0


async def test_a_failure_does_not_end_the_trimming() -> None:
    heap = Leftovers(FREE_BYTES + 1, failures=1)
    await heap.wait()
    assert heap.trims


async def test_without_a_heap_nothing_is_done() -> None:
    async with trimming(None, seconds=0.001):
        await asyncio.sleep(0)


async def test_a_service_trims_its_heap_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    heaps: list[Heap | None] = []

    def seen(heap: Heap | None) -> AbstractAsyncContextManager[None]:
        heaps.append(heap)
        return trimming(heap)

    monkeypatch.setattr("bff_shared.app.trimming", seen)
    app: FastAPI = create_app("proxy", Settings(), metrics=Metrics(), checks={}, lifespan=nothing)
    async with app.router.lifespan_context(app):
        assert [type(heap) for heap in heaps] == [type(system_heap())]
