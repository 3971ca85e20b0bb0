from typing import Any

import orjson
import pytest

from bff_aggregator.backend.part import Part, State
from bff_aggregator.backend.schema import UnexpectedShape
from bff_aggregator.runs import list_page
from bff_aggregator.runs.list_page import Page, page_body, read_page

DONE = {"run_id": "a", "status": "COMPLETED", "created_at": "2025-01-02T00:00:00Z", "duration_ms": 2000, "note": 1}
RUNNING = {"run_id": "b", "status": "RUNNING"}


def text(*items: Any, **rest: Any) -> bytes:
    return orjson.dumps({"items": items, **rest})


def answered(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(page_body(page, 1.234))
    return found


def test_page_shows_each_run_with_what_is_known_of_its_metrics() -> None:
    plain = read_page(text(DONE, RUNNING, {**DONE, "run_id": "c"}, {**DONE, "run_id": "d"}, total=4))
    metrics = list_page.shown(Part("metrics", State.OK, {"total_return": 0.5, "cagr": None, "turnover": 3.0}))
    keys = [row.key for row in plain.rows]
    body = answered(Page(plain, {keys[0]: metrics}, {keys[2]: State.FAILED}, calls=1))
    assert [(item["run_id"], item["status"], item["metrics"], item["metrics_state"]) for item in body["items"]] == [
        ("a", "DONE", {"total_return": 0.5}, "ok"),
        ("b", "RUNNING", None, "skipped"),
        ("c", "DONE", None, "failed"),
        ("d", "DONE", None, "pending"),
    ]
    assert body["items"][0]["extra"] == {"note": 1}
    assert body["total"] == 4
    assert body["metadata"] == {
        "load_time_ms": 1.23,
        "backend_calls": 1,
        "metrics_pending": 1,
        "stale": False,
        "partial_data": True,
        "rejected": 0,
    }


def test_metrics_belong_to_a_run_in_one_state() -> None:
    before, after = (read_page(text({**DONE, "duration_ms": ms})).rows[0].key for ms in (1, 2))
    assert before != after
    assert read_page(text({**DONE, "note": 2})).rows[0].key == read_page(text(DONE)).rows[0].key


def test_run_without_an_id_is_shown_without_metrics() -> None:
    page = read_page(text({"status": "DONE"}))
    assert answered(Page(page, {}, {}))["items"][0]["metrics_state"] == "skipped"


def test_fields_of_the_page_are_kept_whatever_their_names() -> None:
    page = read_page(text(total=0, cursor="x", metadata={"own": True}))
    body = answered(Page(page, {}, {}))
    assert (body["items"], body["cursor"], body["extra"]) == ([], "x", {"metadata": {"own": True}})


def test_page_that_says_the_same_is_read_once() -> None:
    same = text(DONE, total=1)
    assert read_page(same) is read_page(bytes(bytearray(same)))


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"items":{}}', b'{"items":[1]}', b'{"items":[{"run_id":"a"}]}'])
def test_what_is_no_list_is_refused(answer: bytes) -> None:
    with pytest.raises(UnexpectedShape):
        read_page(answer)


@pytest.mark.parametrize(
    ("state", "age", "seconds"), [(State.OK, 60, 300), (State.OK, 7200, 3600), (State.MISSING, 7200, 60)]
)
def test_metrics_are_good_for_as_long_as_in_a_complete_run(state: State, age: float, seconds: float) -> None:
    row = read_page(text(DONE)).rows[0]
    assert list_page.lifetime(row, state, row.ended + age) == seconds
