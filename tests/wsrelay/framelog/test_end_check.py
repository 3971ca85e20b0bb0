"""What confirms, and what denies, that the last frame that came was the last of the run."""

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


@pytest.mark.parametrize(
    ("bars", "curve", "is_last"),
    [
        (LAST, None, True),
        (LAST - 1, None, True),
        (LAST + 1, None, False),
        (LAST + 1, LAST, True),
        (None, LAST, True),
        (None, LAST + 1, False),
        (None, LAST - 1, False),  # a curve of days
        (None, None, False),
    ],
)
async def test_no_frame_follows_the_last_bar_or_the_last_point_of_equity(
    bars: int | None, curve: int | None, *, is_last: bool
) -> None:
    assert await check_of(Told(bars, curve)).is_last(LAST, DETAIL) is is_last


async def test_equity_is_asked_only_where_bars_do_not_tell_and_nothing_twice_in_a_pass() -> None:
    told = Told(bars=LAST)
    check = check_of(told)
    assert await check.is_last(LAST - 5, DETAIL) is False
    assert await check.is_last(LAST, DETAIL) is True
    assert told.asked == "be"
    check.begin_pass()
    assert await check.is_last(LAST - 5, DETAIL) is False
    assert told.asked == "bee"
    check.reset()
    told.bars = LAST + 9
    assert await check.is_last(LAST, DETAIL) is False


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
