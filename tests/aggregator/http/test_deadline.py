import pytest

from bff_aggregator.http.deadline import deadline
from bff_shared.errors import InvalidRequest


def test_limit_holds_without_a_header() -> None:
    assert deadline(100.0, 2.0, None).at == 102.0


def test_header_shortens_and_never_lengthens() -> None:
    assert deadline(100.0, 2.0, "0.5").at == 100.5
    assert deadline(100.0, 2.0, "60").at == 102.0


def test_what_is_left_is_never_negative() -> None:
    assert deadline(100.0, 2.0, None).left(101.5) == 0.5
    assert deadline(100.0, 2.0, None).left(103.0) == 0.0


@pytest.mark.parametrize("header", ["", "x", "-1", "0", "nan", "inf", "1" * 40, "1s", "\u0661"])
def test_anything_but_a_positive_number_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        deadline(100.0, 2.0, header)
    assert caught.value.details["fields"].keys() == {"x-request-timeout"}
