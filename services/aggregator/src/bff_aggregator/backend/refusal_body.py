"""A refusal of the backend's as a part of a response of ours. Pure."""

from typing import Any, Final

from bff_shared import foreign_json

_CODES: Final = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 429: "TOO_MANY_REQUESTS"}


def as_error(status: int, content: bytes, correlation_id: str) -> dict[str, Any]:
    """Return a refusal as an error's body: the backend's own words if they are canonical, else ours."""
    try:
        said = foreign_json.loads(content)
    except foreign_json.MalformedJson:
        said = None
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(said, dict) and isinstance(error, dict) and isinstance(error.get("code"), str):
        return said
    code, message = _CODES.get(status, "BAD_REQUEST"), f"the backend answered {status}"
    return {"error": {"code": code, "message": message, "details": {"correlation_id": correlation_id}}}
