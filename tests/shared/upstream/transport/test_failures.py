import pytest

from bff_shared.upstream.transport.failures import Fault, Stage, fault, mark


def test_a_marked_error_tells_how_far_it_came() -> None:
    error = mark(OSError("gone"), Stage.SENT, reused=True)
    assert fault(error) == Fault(Stage.SENT, reused=True)


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError()])
def test_an_error_of_others_forbids_a_retry(error: Exception) -> None:
    assert fault(error) == Fault(Stage.ANSWERED, reused=False)
