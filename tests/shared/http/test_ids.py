import re

import pytest

from bff_shared.http import ids

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_sane_request_id_is_kept() -> None:
    assert ids.request_id("req-42/~!") == "req-42/~!"
    assert ids.request_id("x" * 128) == "x" * 128


@pytest.mark.parametrize("bad", [None, "", "x" * 129, "a b", "a\nb", "a\x00", "naïve", "x" * 10_000])
def test_other_request_ids_are_replaced(bad: str | None) -> None:
    made = ids.request_id(bad)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made != ids.request_id(bad)


def test_trace_is_continued_with_a_new_span() -> None:
    trace = ids.trace(GIVEN)
    assert trace.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert trace.flags == "01"
    assert trace.span_id != "b7ad6b7169203331"
    assert re.fullmatch(r"00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01", trace.header)


def test_trace_of_a_later_version_is_continued() -> None:
    assert ids.trace("01" + GIVEN[2:] + "-more").trace_id == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        GIVEN.upper(),
        "ff" + GIVEN[2:],
        GIVEN + "-more",
        GIVEN.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GIVEN.replace("b7ad6b7169203331", "0" * 16),
    ],
)
def test_malformed_trace_is_started_anew(bad: str | None) -> None:
    trace = ids.trace(bad)
    assert trace.trace_id not in {"0af7651916cd43dd8448eb211c80319c", "0" * 32}
    assert trace.flags == "00"
