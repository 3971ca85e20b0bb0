"""Answers that every service gives: JSON by orjson, and errors in the canonical shape or as a problem document."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response
from starlette.types import Send

from bff_shared.context import correlation_id, current
from bff_shared.errors import PROBLEM_JSON, BffError

JSON = "application/json"


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
