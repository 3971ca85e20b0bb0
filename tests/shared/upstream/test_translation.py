import httpx
import pytest

from bff_shared.errors import BackendMalformed, BackendTimeout, BackendUnavailable, BadRequest, BffError, Busy
from bff_shared.upstream.translation import translate
from bff_shared.upstream.transport.failures import FailureStage, mark


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.PoolTimeout, Busy),
        (httpx.ConnectTimeout, BackendTimeout),
        (httpx.ReadTimeout, BackendTimeout),
        (httpx.WriteTimeout, BackendTimeout),
        (httpx.ConnectError, BackendUnavailable),
        (httpx.ReadError, BackendUnavailable),
        (httpx.WriteError, BackendUnavailable),
        (httpx.LocalProtocolError, BadRequest),
        (httpx.RemoteProtocolError, BackendUnavailable),
    ],
)
def test_a_failure_before_any_byte_of_a_response(failure: type[httpx.TransportError], error: type[BffError]) -> None:
    assert type(translate(mark(failure("x"), FailureStage.SENT, reused=False))) is error


def test_a_response_that_began_and_is_no_valid_http_is_malformed() -> None:
    failure = mark(httpx.RemoteProtocolError("x"), FailureStage.RESPONDED, reused=False)
    assert type(translate(failure)) is BackendMalformed
