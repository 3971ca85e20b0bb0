"""Where a seek may go, in a log that still grows and in one that has ended."""

import pytest

from bff_shared.lru import ByteLRU
from bff_wsrelay.framelog.frame import parse_frame, parse_time
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.run_info import latest_time
from bff_wsrelay.playback.messages import ControlRefused, Position, parse_position
from bff_wsrelay.playback.positions import check_range, resolve_index
from tests.support.runs import source


def log_of(count: int, *, ended: bool) -> FrameLog:
    log = FrameLog("epoch", 1 << 20, ByteLRU(1 << 20))
    for frame in source(count):
        log.append(parse_frame(frame))
    log.ended = ended
    return log


@pytest.mark.parametrize(
    ("where", "index"), [(7, 7), ("2025-01-02T14:31:29Z", 1), ("2025-01-02T14:31:31Z", 2), ("2025-01-02", 0)]
)
def test_a_position_means_the_nearest_frame(where: int | str, index: int) -> None:
    log, wanted = log_of(10, ended=True), parse_position(where)
    check_range(log, wanted)
    assert resolve_index(log, wanted) == index


@pytest.mark.parametrize("where", [-1, 10, "2025-01-02T14:29:00Z", "2025-01-02T14:40:00Z", "2025-01-01"])
def test_a_position_outside_a_whole_run_is_refused(where: int | str) -> None:
    with pytest.raises(ControlRefused):
        check_range(log_of(10, ended=True), parse_position(where))


def test_a_time_that_a_growing_run_may_come_to_is_waited_for() -> None:
    log, later = log_of(10, ended=False), Position(micros=parse_time("2025-01-02T15:00:00Z"))
    check_range(log, later)
    assert resolve_index(log, later) is None


def test_every_position_is_outside_a_run_without_frames() -> None:
    with pytest.raises(ControlRefused):
        check_range(log_of(0, ended=True), parse_position("2025-01-02T14:30:00Z"))


def test_a_time_after_the_date_that_the_run_goes_to_is_refused_before_the_end_is_known() -> None:
    log = log_of(10, ended=False)
    log.latest = latest_time("2025-01-31")
    check_range(log, parse_position("2025-01-31T23:59:00Z"))
    with pytest.raises(ControlRefused):
        check_range(log, parse_position("2099-01-01T00:00:00Z"))


def test_what_is_nearest_to_a_time_outside_is_the_first_or_last_frame() -> None:
    log = log_of(10, ended=True)
    assert log.nearest(parse_time("2025-01-01T00:00:00Z")) == 0
    assert log.nearest(parse_time("2026-01-01T00:00:00Z")) == 9
