"""What confirms, and what denies, that the last frame that came was the last of the run."""

import asyncio
from dataclasses import dataclass
from typing import cast

import pytest

from bff_wsrelay.framelog.end_check import EndCheck
from bff_wsrelay.framelog.run_client import RunClient
from bff_wsrelay.framelog.run_info import RunDetail

DETAIL = RunDetail(finished=True, epoch="e", run_to="2025-01-03", symbol="AAPL")
LAST = 1_000


@dataclass
class Told:
    """A backend that tells where its bars and its equity end, and counts how often it was asked."""

    bars: int | None = None
    curve: int | None = None
    asked: str = ""

    async def fetch_bars_end(self, _: RunDetail) -> int | None:
        self.asked += "b"
        return self.bars

    async def fetch_equity_end(self) -> int | None:
        self.asked += "e"
        return self.curve


def check_of(told: Told) -> EndCheck:
    return EndCheck(cast("RunClient", told))


async def answer(check: EndCheck, last: int, position: int) -> bool:
    """Ask until the question in the background has been answered."""
    is_last = check.is_last(last, position, DETAIL)
    for _ in range(5):
        await asyncio.sleep(0)
        is_last = is_last or check.is_last(last, position, DETAIL)
    return is_last


@pytest.mark.parametrize(
    ("bars", "curve", "is_last"),
    [
        (LAST, None, True),
        (LAST - 1, None, True),
        (LAST + 1, None, False),
        (LAST + 1, LAST, False),
        (None, LAST, True),
        (None, LAST + 1, False),
        (None, LAST - 1, False),  # a curve of days
        (None, None, False),
    ],
)
async def test_no_frame_follows_the_last_bar_or_else_the_last_point_of_equity(
    bars: int | None, curve: int | None, *, is_last: bool
) -> None:
    assert await answer(check_of(Told(bars, curve)), LAST, 7) is is_last


async def test_equity_is_asked_only_where_there_are_no_bars_and_nothing_twice_in_a_pass() -> None:
    told = Told(bars=LAST)
    check = check_of(told)
    assert await answer(check, LAST - 5, 7) is False
    assert await answer(check, LAST, 8) is True
    assert told.asked == "b"
    check.reset()
    told.bars = None
    assert await answer(check, LAST, 8) is False
    assert await answer(check, LAST, 9) is False
    assert told.asked == "bbe"
    check.begin_pass()
    told.curve = LAST
    assert await answer(check, LAST, 9) is True
    assert told.asked == "bbebe"


async def test_answer_to_a_question_before_the_last_frame_came_does_not_count() -> None:
    check = check_of(Told(bars=LAST))
    assert check.is_last(LAST, 7, DETAIL) is False
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert check.is_last(LAST, 8, DETAIL) is False
    assert await answer(check, LAST, 8) is True


@pytest.mark.parametrize(
    ("bars", "curve"), [(LAST + 1, None), (None, LAST + 1), (LAST, LAST + 1), (None, None)], ids=str
)
async def test_a_quiet_end_that_falls_short_is_believed_the_second_time(bars: int | None, curve: int | None) -> None:
    check = check_of(Told(bars, curve))
    with pytest.raises(TimeoutError):
        await check.require_whole(LAST, 5, DETAIL)
    await check.require_whole(LAST, 5, DETAIL)
    with pytest.raises(TimeoutError):
        await check.require_whole(LAST, 4, DETAIL)


async def test_a_run_without_frames_is_whole_though_its_instrument_has_bars() -> None:
    await check_of(Told(bars=LAST)).require_whole(-1, 0, DETAIL)
    with pytest.raises(TimeoutError):
        await check_of(Told(bars=LAST, curve=LAST)).require_whole(-1, 0, DETAIL)
