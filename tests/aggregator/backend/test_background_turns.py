"""Readings in the background have their turns, a few at a time; who is waited for has it at once."""

import asyncio

import pytest

from bff_aggregator.backend.background_turns import BackgroundTurns
from bff_shared.errors import Busy


async def read(turns: BackgroundTurns, name: str, begun: list[str], over: asyncio.Event) -> None:
    async with turns.turn(name):
        begun.append(name)
        await over.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_at_once_have_a_turn_in_the_order_in_which_they_came_and_one_is_hurried() -> None:
    turns, begun, overs = BackgroundTurns(2, 20.0), list[str](), [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(read(turns, name, begun, over)) for name, over in zip("abcde", overs, strict=True)]
    await settle()
    assert begun == ["a", "b"]
    turns.hurry("e")
    turns.hurry("a")
    turns.hurry("unknown")
    await settle()
    assert begun == ["a", "b", "e"]
    overs[4].set()
    await settle()
    assert begun == ["a", "b", "e"]  # who was hurried had no slot to give back
    overs[0].set()
    await settle()
    assert begun == ["a", "b", "e", "c"]
    for over in overs:
        over.set()
    await asyncio.gather(*tasks)
    assert begun == ["a", "b", "e", "c", "d"]
    assert repr(turns) == "<BackgroundTurns free=2 waiting=0>"


async def test_who_leaves_while_it_waits_takes_no_turn() -> None:
    turns, begun, over = BackgroundTurns(1, 20.0), list[str](), asyncio.Event()
    first, second, third = (asyncio.create_task(read(turns, name, begun, over)) for name in "abc")
    await settle()
    second.cancel()
    await settle()
    over.set()
    await asyncio.gather(first, third)
    assert begun == ["a", "c"]
    assert repr(turns) == "<BackgroundTurns free=1 waiting=0>"


async def test_slot_handed_over_to_one_that_leaves_is_passed_on() -> None:
    turns, begun, over = BackgroundTurns(1, 20.0), list[str](), asyncio.Event()
    over.set()
    async with turns.turn("a"):
        second, third = (asyncio.create_task(read(turns, name, begun, over)) for name in "bc")
        await settle()
    second.cancel()
    await asyncio.wait([second, third])
    assert begun == ["c"]
    assert repr(turns) == "<BackgroundTurns free=1 waiting=0>"


async def test_who_waits_too_long_is_refused() -> None:
    turns, over = BackgroundTurns(1, 0.01), asyncio.Event()
    first = asyncio.create_task(read(turns, "a", [], over))
    await settle()
    with pytest.raises(Busy):
        await read(turns, "b", [], over)
    over.set()
    await first
