"""The calendar of New York: when sessions open and close."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from bff_aggregator.charts import sessions

ROOT = Path(__file__).parents[3]


def minutes_on(day: date) -> int:
    noon = int(datetime(day.year, day.month, day.day, 17, tzinfo=UTC).timestamp())
    return int(sessions.find(np.array([noon], np.int64)).minutes[0])


@pytest.mark.parametrize(
    ("day", "minutes"),
    [
        pytest.param(date(1981, 3, 30), 347, id="15:17, an attempt on the president"),
        pytest.param(date(1987, 10, 23), 270, id="14:00, after the crash"),
        pytest.param(date(1990, 12, 24), 270, id="14:00, the first of their kind"),
        pytest.param(date(1991, 7, 3), 390, id="a whole session until 1995"),
        pytest.param(date(1994, 2, 11), 300, id="14:30, snow"),
        pytest.param(date(1996, 7, 3), 390, id="the day after was a holiday, the one after that the short one"),
        pytest.param(date(1996, 7, 5), 210, id="Friday after a holiday on Thursday"),
        pytest.param(date(1997, 12, 26), 210, id="Friday after Christmas"),
        pytest.param(date(1999, 12, 31), 210, id="New Year's Eve of 1999"),
        pytest.param(date(2002, 7, 3), 390, id="Wednesday"),
        pytest.param(date(2002, 7, 5), 210, id="Friday"),
        pytest.param(date(2013, 7, 3), 210, id="Wednesday, from 2013 on"),
        pytest.param(date(2024, 12, 24), 210, id="Christmas Eve"),
        pytest.param(date(2026, 7, 3), 390, id="a Friday and holiday itself"),
        pytest.param(date(2026, 11, 27), 210, id="the day after Thanksgiving"),
    ],
)
def test_session_is_as_long_as_the_exchange_was_open(day: date, minutes: int) -> None:
    assert minutes_on(day) == minutes


def test_table_of_early_closes_is_that_of_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "docs/early_closes.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
