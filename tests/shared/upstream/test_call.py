import pytest

from bff_shared.upstream.call import Call
from tests.support.transport import Pieces


@pytest.mark.parametrize(("method", "repeatable"), [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)])
def test_only_safe_methods_may_be_sent_again_unless_the_call_says_otherwise(method: str, repeatable: bool) -> None:
    assert Call(method, b"/").is_repeatable is repeatable
    assert Call(method, b"/", replay=True).is_repeatable
    assert not Call(method, b"/", replay=False).is_repeatable


def test_what_has_a_body_is_never_sent_again() -> None:
    assert not Call("PUT", b"/", body=Pieces(b"x"), replay=True).is_repeatable


def test_the_time_left_ends_at_the_deadline_and_is_unlimited_without_one() -> None:
    assert Call("GET", b"/").left(5.0) is None
    assert Call("GET", b"/", deadline=7.0).left(5.0) == 2.0
    assert Call("GET", b"/", deadline=7.0).left(9.0) == 0.0
