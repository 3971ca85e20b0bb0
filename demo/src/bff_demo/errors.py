"""The backend's error answers in their three shapes.

- `ApiError`: `{"error":{"code","message"}}`
- FastAPI's own `HTTPException`: `{"detail":"text"}`, and its 422 with a list of details
- `BadDate`: a date that the backend did not expect; it escapes as a bare 500 except where a route catches it
"""

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse

from bff_demo.auth import Forbidden, Unauthorized
from bff_demo.runs import PartMissing, RunNotFound

__all__ = ["ApiError", "BadDate", "install"]


class ApiError(Exception):
    """An answer `status` with the canonical `code` and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BadDate(ValueError):
    """Text that is not a date `YYYY-MM-DD`."""


def install(app: FastAPI) -> None:
    """Teach `app` to answer these errors, and those of the registry."""
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(RunNotFound, _answer_run_not_found)
    app.add_exception_handler(PartMissing, _answer_part_missing)
    app.add_exception_handler(BadDate, _answer_bad_date)
    app.add_exception_handler(Unauthorized, _answer_unauthorized)
    app.add_exception_handler(Forbidden, _answer_forbidden)


def _canonical(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


async def _answer_api_error(_request: Request, error: Exception) -> Response:
    return _canonical(getattr(error, "status", 500), getattr(error, "code", "INTERNAL"), str(error))


async def _answer_run_not_found(_request: Request, error: Exception) -> Response:
    return _canonical(404, "RUN_NOT_FOUND", str(error))


async def _answer_part_missing(_request: Request, error: Exception) -> Response:
    return _canonical(404, "ARTIFACT_NOT_FOUND", str(error))


async def _answer_unauthorized(connection: Request | WebSocket, _error: Exception) -> Response:
    # RFC 9110, section 11.6.1: a 401 names the scheme it wants.
    return await _refuse(connection, JSONResponse({"detail": "Not authenticated"}, 401, {"WWW-Authenticate": "Bearer"}))


async def _answer_forbidden(connection: Request | WebSocket, _error: Exception) -> Response:
    return await _refuse(connection, JSONResponse({"detail": "Forbidden"}, 403))


async def _refuse(connection: Request | WebSocket, response: Response) -> Response:
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(response)
    return response


async def _answer_bad_date(_request: Request, _error: Exception) -> Response:
    # What an exception that nobody caught looks like from outside (Starlette's ServerErrorMiddleware).
    return PlainTextResponse("Internal Server Error", 500)
