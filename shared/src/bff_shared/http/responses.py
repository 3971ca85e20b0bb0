"""Answers that every service gives: JSON by orjson, and errors in the canonical shape or as a problem document.

`ErrorBoundary` is where an exception becomes a response. It stands inside CORS and tracing, so that a page of a
configured origin can read an error like any other response, on every path of every service.
"""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bff_shared.errors import PROBLEM_JSON, BffError, Internal, wants_problem
from bff_shared.http.context import correlation_id, current

JSON = "application/json"
log = logging.getLogger(__name__)


class JsonResponse(JSONResponse):
    """A JSON answer; takes what orjson takes (NumPy arrays too)."""

    def render(self, content: Any) -> bytes:
        """Return the content's UTF-8 JSON without spaces."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_response(error: BffError, *, problem: bool = False) -> Response:
    """Return an error's answer, with the correlation id of the current request, which the error may excuse."""
    if error.excused and (request := current()):
        request.excused = True
    body = error.problem(correlation_id()) if problem else error.body(correlation_id())
    headers: Mapping[str, str] = {**error.headers(), "cache-control": "no-store"}
    media_type = PROBLEM_JSON if problem else JSON
    return Response(orjson.dumps(body, default=str), error.status, headers=headers, media_type=media_type)


async def send_error(send: Send, error: BffError, *, problem: bool) -> None:
    """Send an error's answer from plain ASGI."""
    response = error_response(error, problem=problem)
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


class ErrorBoundary:
    """Wraps an ASGI app: whatever it raises before its response began becomes an error response.

    A BffError is answered as it says, anything else is logged with its traceback and answered as 500 INTERNAL. What is
    raised after the response began is raised on, so that the server breaks the connection off; `Observe`, which stands
    outside, notes that in the request's context. A client that leaves in the middle of its request's body is nobody's
    failure, and answered nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; anything but HTTP passes as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:
            context = current()
            if context is not None and context.status:
                raise
            known = _known(error)
            if context is not None:
                context.error = known.code
            await send_error(send, known, problem=_wants_problem(scope))


def _known(error: Exception) -> BffError:
    if isinstance(error, BffError):
        return error
    log.error("request failed", exc_info=error)
    return Internal("the service failed to answer")


def _wants_problem(scope: Scope) -> bool:
    return any(name == b"accept" and wants_problem(value.decode("latin-1")) for name, value in scope["headers"])
