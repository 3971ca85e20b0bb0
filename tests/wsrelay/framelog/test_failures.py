from typing import Any

import pytest

from bff_wsrelay.framelog.failures import LONGEST_REASON, unstreamable

PLAIN = "the backend cannot stream this run"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("name '_norm_ts' is not defined", ": name '_norm_ts' is not defined"),
        ("artifact missing\r\nat line 2\x1b[2J", ": artifact missing at line 2 [2J"),
        ("cannot open '/srv/app/data/x.parquet'", ": cannot open '…"),
        ("no answer of http://10.0.0.7:8000/x, retry", ": no answer of … retry"),
        ("db.internal:5432 refused", ": … refused"),
        ("10.1.2.3 refused Bearer abc.def", ": … refused …"),
        ("password=hunter2 is wrong", ": … is wrong"),
        ("ratio 3/4 of AAPL at 14:30", ": ratio 3/4 of AAPL at 14:30"),
        ("", ""),
        ("  \n ", ""),
        (None, ""),
        ({"a": 1}, ""),
    ],
)
def test_backends_reason_is_passed_on_in_one_clean_line(told: Any, shown: str) -> None:
    failure = unstreamable(told)
    assert (failure.code, failure.message, failure.close) == ("STREAM_ERROR", PLAIN + shown, 4424)


def test_backends_reason_is_bounded() -> None:
    assert len(unstreamable("x" * 10**6).message) == len(PLAIN) + 2 + LONGEST_REASON
