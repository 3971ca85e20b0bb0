import pytest

from bff_shared import errors
from bff_shared.errors import BffError, Busy, CircuitOpen, InvalidRequest, NotFound, Unauthorized


def all_kinds(kind: type[BffError] = BffError) -> list[type[BffError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in all_kinds(child))]


def test_body_has_the_canonical_shape() -> None:
    body = NotFound("no such resource", {"known": ["a"]}).body("id-1")
    assert body == {
        "error": {
            "code": "NOT_FOUND",
            "message": "no such resource",
            "details": {"known": ["a"], "correlation_id": "id-1"},
        }
    }


def test_problem_document_has_the_fields_of_rfc_9457() -> None:
    problem = NotFound("no such resource").problem("id-1")
    assert problem["type"] == "about:blank"
    assert problem["title"] == "Not found"
    assert problem["status"] == 404
    assert problem["detail"] == "no such resource"
    assert problem["correlation_id"] == "id-1"


def test_invalid_request_names_its_fields() -> None:
    assert InvalidRequest("invalid", {"from": "not a date"}).details["fields"] == {"from": "not a date"}


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.0, "1"), (4.1, "5")])
def test_retry_after_is_in_whole_seconds(seconds: float, header: str) -> None:
    assert CircuitOpen("open", seconds).headers() == {"retry-after": header}
    assert Busy("busy", seconds).headers() == {"retry-after": header}


def test_unauthorized_names_the_scheme() -> None:
    assert Unauthorized("a token is needed").headers()["www-authenticate"] == "Bearer"


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = errors.__doc__ or ""
    for kind in (kind for kind in all_kinds() if kind.__module__ == errors.__name__ and kind.__name__[0] != "_"):
        line = next((line for line in drawn.splitlines() if kind.__name__ in line.split()), "")
        assert line, f"{kind.__name__} is not drawn"
        numbers = [word for word in line.split() if word.isdigit()]
        assert not numbers or numbers == [str(kind.status)]


def test_problem_documents_are_for_those_who_ask() -> None:
    assert errors.wants_problem("application/problem+json, */*;q=0.1")
    assert not errors.wants_problem("application/json")
