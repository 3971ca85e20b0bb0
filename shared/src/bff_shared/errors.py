"""The errors that the services answer with, and the one shape they have on the wire.

    BffError
    ├── RequestError                      the client can mend it
    │   ├── InvalidRequest     VALIDATION            422
    │   ├── BadRequest         BAD_REQUEST           400
    │   ├── Unauthorized       UNAUTHORIZED          401
    │   ├── NotFound           NOT_FOUND             404
    │   │   ├── RunNotFound        RUN_NOT_FOUND     404
    │   │   ├── ArtifactMissing    ARTIFACT_MISSING  404
    │   │   └── DatasetNotFound    DATASET_NOT_FOUND 404
    │   ├── MethodNotAllowed   METHOD_NOT_ALLOWED    405
    │   ├── BodyNotRead                           ends the connection
    │   │   ├── MalformedRequest   BAD_REQUEST       400
    │   │   ├── HeadersTooLarge    HEADERS_TOO_LARGE 431
    │   │   ├── RequestTimeout     REQUEST_TIMEOUT   408
    │   │   └── PayloadTooLarge    PAYLOAD_TOO_LARGE 413
    │   └── TooManyRequests    TOO_MANY_REQUESTS     429  retryable, Retry-After
    ├── UpstreamError                     the backend's fault or absence
    │   ├── BackendUnavailable BACKEND_UNAVAILABLE   502  retryable
    │   │   └── BackendMalformed                     502
    │   │       └── BackendTooLarge                  502
    │   ├── BackendTimeout     BACKEND_TIMEOUT       504  retryable
    │   └── CircuitOpen        BACKEND_CIRCUIT_OPEN  503  retryable, Retry-After
    ├── Busy                   BUSY                  503  retryable, Retry-After
    │   └── ClientBusy                               503  the limit of one client, which is its own doing
    └── Internal               INTERNAL              500

A message is for people and never holds an address, a credential or a stack trace.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

PROBLEM_JSON = "application/problem+json"


class BffError(Exception):
    """An answer other than the one asked for; raised anywhere, turned into a response in one place."""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    excused: ClassVar[bool] = False
    """Whether the client brought it about although the status is one of the server's: no flag's budget counts it."""

    retry_after: float | None = None

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Take a sentence for people and details for programs (JSON values)."""
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})

    def body(self, correlation_id: str) -> dict[str, Any]:
        """Return the canonical shape `{"error": {code, message, details}}`."""
        details = {**self.details, "correlation_id": correlation_id}
        return {"error": {"code": self.code, "message": self.message, "details": details}}

    def problem(self, correlation_id: str) -> dict[str, Any]:
        """Return the same as a problem document (RFC 9457 section 3)."""
        title = self.code.replace("_", " ").capitalize()
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.message}
        return {**self.details, **document, "code": self.code, "correlation_id": correlation_id}

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the error (RFC 9110 section 10.2.3 for Retry-After: whole seconds)."""
        return {} if self.retry_after is None else {"retry-after": str(max(1, math.ceil(self.retry_after)))}


class RequestError(BffError):
    """The request cannot be answered as it is."""

    code, status = "BAD_REQUEST", 400


class InvalidRequest(RequestError):
    """Well-formed, but some field's value is not acceptable; `fields` maps each to what is wrong with it."""

    code, status = "VALIDATION", 422

    def __init__(self, message: str, fields: Mapping[str, str]) -> None:
        super().__init__(message, {"fields": dict(fields)})


class BadRequest(RequestError):
    """The request is malformed."""


class Unauthorized(RequestError):
    """A route of ours needs a token that was not given."""

    code, status = "UNAUTHORIZED", 401

    def headers(self) -> dict[str, str]:
        """Name the scheme, as RFC 9110 section 15.5.2 asks."""
        return {"www-authenticate": "Bearer"}


class NotFound(RequestError):
    """There is no such resource."""

    code, status = "NOT_FOUND", 404


class RunNotFound(NotFound):
    """The backend knows no such run."""

    code = "RUN_NOT_FOUND"


class ArtifactMissing(NotFound):
    """The run exists, a part of it that was asked for does not."""

    code = "ARTIFACT_MISSING"


class DatasetNotFound(NotFound):
    """The backend has no bars for what was asked."""

    code = "DATASET_NOT_FOUND"


class MethodNotAllowed(RequestError):
    """The resource does not support the method; `allow` lists those that it does."""

    code, status = "METHOD_NOT_ALLOWED", 405

    def __init__(self, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow

    def headers(self) -> dict[str, str]:
        """Name the methods, as RFC 9110 section 15.5.6 asks."""
        return {"allow": self.allow} if self.allow else {}


class BodyNotRead(RequestError):
    """The rest of the request's body is not read, so the connection cannot carry another request."""

    def headers(self) -> dict[str, str]:
        """Say that the connection ends."""
        return {"connection": "close"}


class RequestTimeout(BodyNotRead):
    """The request's body came too slowly."""

    code, status = "REQUEST_TIMEOUT", 408


class MalformedRequest(BodyNotRead):
    """The request is not valid HTTP."""

    code, status = "BAD_REQUEST", 400


class HeadersTooLarge(BodyNotRead):
    """The request's head is larger than this service accepts."""

    code, status = "HEADERS_TOO_LARGE", 431


class PayloadTooLarge(BodyNotRead):
    """The request's body is larger than the configured limit."""

    code, status = "PAYLOAD_TOO_LARGE", 413


class TooManyRequests(RequestError):
    """One client asks for something more often than it may; `retry_after` says when it may again, in seconds."""

    code, status, retryable = "TOO_MANY_REQUESTS", 429, True

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamError(BffError):
    """The backend gave no usable answer."""

    code, status, retryable = "BACKEND_UNAVAILABLE", 502, True


class BackendUnavailable(UpstreamError):
    """No connection to the backend, or it broke before an answer came."""


class BackendMalformed(BackendUnavailable):
    """The backend answered something that is not valid HTTP, or not what its contract says."""

    retryable = False


class BackendTooLarge(BackendMalformed):
    """The backend's response is larger than this service accepts."""


class BackendTimeout(UpstreamError):
    """The backend took too long to connect, to begin or to go on."""

    code, status = "BACKEND_TIMEOUT", 504


class CircuitOpen(UpstreamError):
    """Too many recent calls failed; none is made until a probe succeeds."""

    code, status = "BACKEND_CIRCUIT_OPEN", 503

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(BffError):
    """This service has as much to do as it may; nothing was sent to the backend.

    No failure for a flag's budget: a few clients that ask for all there is would turn the flag off for everybody.
    """

    code, status, retryable, excused = "BUSY", 503, True, True

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ClientBusy(Busy):
    """One client has as much of this service as it may have; others are not refused."""


class Internal(BffError):
    """A defect of this service."""


def wants_problem(accept: str) -> bool:
    """Tell whether an Accept header asks for problem documents (RFC 9457 section 3)."""
    return PROBLEM_JSON in accept.lower()
