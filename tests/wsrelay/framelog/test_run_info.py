"""What a pass over a run is held against where the backend never says its end."""

from typing import Any

import pytest

from bff_wsrelay.framelog.frame import parse_time
from bff_wsrelay.framelog.run_info import RunDetail, bars_window, falls_short, last_stamp, read_detail

LAST = "2025-01-03T20:59:00Z"


@pytest.mark.parametrize(
    ("curve", "run_to", "short"),
    [
        (LAST, None, False),
        ("2025-01-03T20:58:00Z", None, False),
        ("2025-01-03T21:00:00Z", None, True),
        (LAST, "2025-01-06", False),
        (None, "2025-01-03", False),
        (None, "2025-01-03T20:59:00+00:00", False),
        (None, "2025-01-04", False),
        (None, "2025-01-05", False),
        (None, "2025-01-06", True),
        (None, "someday", False),
        (None, None, False),
    ],
)
def test_a_pass_falls_short_of_the_curve_or_else_of_the_date_that_the_run_goes_to(
    curve: str | None, run_to: str | None, short: bool
) -> None:
    assert falls_short(parse_time(LAST), parse_time(curve) if curve else None, run_to) is short


@pytest.mark.parametrize("name", ["timestamp", "ts", "ts_utc"])
def test_a_curve_ends_at_its_last_point_however_that_is_spelt(name: str) -> None:
    points = ",".join(f'{{"{name}": "2025-01-03T{hour:02}:00:00Z", "equity": 1.0}}' for hour in range(24))
    assert last_stamp(f'{{"equity":[{points}]}}'.encode()) == parse_time("2025-01-03T23:00:00Z")


@pytest.mark.parametrize("body", [b"", b'{"equity":[]}', b'{"equity":[{"ts":"soon"}]}', b"\xff"])
def test_an_answer_without_a_curve_has_no_end(body: bytes) -> None:
    assert last_stamp(body) is None


@pytest.mark.parametrize(
    ("fields", "symbol"),
    [
        ({"dataset_id": "BRK-B-2024-1m"}, "BRK-B"),
        ({"dataset_id": "X:BTCUSD-2024-1m", "symbol": None}, "X:BTCUSD"),
        ({"dataset_id": "AAPL-2024-1m", "symbol": "AMpB"}, "AMpB"),
        ({"symbol": 5}, None),
        ({}, None),
    ],
)
def test_a_run_names_its_symbol_or_its_dataset_does(fields: dict[str, Any], symbol: str | None) -> None:
    assert read_detail("run", {"status": "DONE", **fields}).symbol == symbol


@pytest.mark.parametrize(
    ("run_to", "window"),
    [
        ("2024-12-31", ("2024-12-17", "2024-12-31")),
        ("2024-12-31T15:00:00Z", None),
        ("0001-01-05", None),
        ("someday", None),
        (None, None),
    ],
)
def test_the_last_bar_is_looked_for_in_two_weeks_up_to_a_date(
    run_to: str | None, window: tuple[str, str] | None
) -> None:
    assert bars_window(RunDetail(finished=True, epoch="e", run_to=run_to)) == window
