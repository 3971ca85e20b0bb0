import pytest

from bff_shared.upstream.transport.failures import Failure, FailureStage, failure_of, mark


def test_a_marked_error_tells_how_far_it_came() -> None:
    error = mark(OSError("gone"), FailureStage.SENT, reused=True)
    assert failure_of(error) == Failure(FailureStage.SENT, reused=True)


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError()])
def test_an_error_of_others_forbids_a_retry(error: Exception) -> None:
    assert failure_of(error) == Failure(FailureStage.RESPONDED, reused=False)
