"""What a transport's failure amounts to in the errors that clients see."""

import httpx

from bff_shared.errors import BackendMalformed, BackendTimeout, BackendUnavailable, BadRequest, BffError, Busy
from bff_shared.upstream.transport.failures import FailureStage, failure_of


def translate(error: httpx.TransportError) -> BffError:
    """Return the error of ours that a transport's failure amounts to."""
    if isinstance(error, httpx.PoolTimeout):
        return Busy("no connection to the backend became free")
    if isinstance(error, httpx.ConnectTimeout):
        return BackendTimeout("the backend did not accept a connection in time")
    if isinstance(error, httpx.TimeoutException):
        return BackendTimeout("the backend took too long to answer")
    if isinstance(error, httpx.ConnectError):
        return BackendUnavailable("the backend cannot be reached")
    if isinstance(error, httpx.LocalProtocolError):
        return BadRequest("the request is not valid HTTP")
    if isinstance(error, httpx.RemoteProtocolError) and failure_of(error).stage is FailureStage.RESPONDED:
        return BackendMalformed("the backend's response is not valid HTTP, or broke off")
    return BackendUnavailable("the connection to the backend broke")
