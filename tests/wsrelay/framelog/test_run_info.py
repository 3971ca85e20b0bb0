"""What a pass over a run is held against where the backend never says its end."""

import pytest

from bff_wsrelay.framelog.frame import parse_time
from bff_wsrelay.framelog.run_info import equity_end, falls_short

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
    assert equity_end(f'{{"equity":[{points}]}}'.encode()) == parse_time("2025-01-03T23:00:00Z")


@pytest.mark.parametrize("body", [b"", b'{"equity":[]}', b'{"equity":[{"ts":"soon"}]}', b"\xff"])
def test_an_answer_without_a_curve_has_no_end(body: bytes) -> None:
    assert equity_end(body) is None
