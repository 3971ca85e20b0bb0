"""Responses of the backend that are passed on to the client as they are."""

from bff_shared.upstream.client import BackendResponse

_PASSED_HEADERS = ("content-type", "www-authenticate", "retry-after")


class BackendRefusal(Exception):
    """The backend will not answer this user (401, 403) or not now (429); its answer is passed on as it is."""

    def __init__(self, answer: BackendResponse) -> None:
        super().__init__(f"the backend answered {answer.status}")
        self.status, self.content = answer.status, answer.content
        passed = {name: answer.headers[name] for name in _PASSED_HEADERS if name in answer.headers}
        self.headers = {name: value for name, value in passed.items() if value.isascii()}
