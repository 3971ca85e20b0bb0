"""Work in pieces, between which others have their turn."""

import asyncio

from bff_shared.turns import in_pieces


async def test_others_have_a_turn_between_two_pieces() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    pieces = [(piece, turns) async for piece in in_pieces(range(10), 4)]
    task.cancel()
    assert [piece for piece, _ in pieces] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    seen = [at for _, at in pieces]
    assert seen[0] < seen[1] < seen[2]


async def test_nothing_is_no_piece() -> None:
    nothing: list[int] = []
    assert [piece async for piece in in_pieces(nothing)] == []
