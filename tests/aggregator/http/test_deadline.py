import pytest

from bff_aggregator.http.deadline import request_deadline
from bff_shared.errors import InvalidRequest


def test_limit_holds_without_a_header() -> None:
    assert request_deadline(100.0, 2.0, None) == 102.0


def test_header_shortens_and_never_lengthens() -> None:
    assert request_deadline(100.0, 2.0, "0.5") == 100.5
    assert request_deadline(100.0, 2.0, "60") == 102.0


@pytest.mark.parametrize("header", ["", "x", "-1", "0", "nan", "inf", "1" * 40, "1s", "\u0661"])
def test_anything_but_a_positive_number_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request_deadline(100.0, 2.0, header)
    assert caught.value.details["fields"].keys() == {"x-request-timeout"}
