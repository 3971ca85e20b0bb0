"""Responses of the backend that are passed on to the client as they are."""

from bff_shared.access.refusal import Refusal
from bff_shared.errors import NotFound
from bff_shared.upstream.client import BackendResponse

_NOT_NOW = frozenset((408, 425, 429))
_PASSED_HEADERS = ("content-type", "www-authenticate", "retry-after")


class BackendRefusal(Exception):
    """The backend will not answer this user (401, 403) or not now (429); its answer is passed on as it is."""

    def __init__(self, answer: BackendResponse) -> None:
        super().__init__(f"the backend answered {answer.status}")
        self.status, self.content = answer.status, answer.content
        passed = {name: answer.headers[name] for name in _PASSED_HEADERS if name in answer.headers}
        self.headers = {name: value for name, value in passed.items() if value.isascii()}


def refusal_of(error: Exception) -> Refusal:
    """Return what an exception of a call says of the access of the credentials that it was made with."""
    if isinstance(error, NotFound):
        return Refusal.RESOURCE
    if not isinstance(error, BackendRefusal) or error.status in _NOT_NOW:
        return Refusal.NOTHING
    return Refusal.CREDENTIAL if error.status == 401 else Refusal.RESOURCE
