import json

import pytest

from bff_aggregator.view import ndjson
from bff_shared.errors import BackendTimeout, InvalidRequest

WINDOW = ("2024-01-01", "2024-12-31")


def test_line_is_made_around_the_bytes_of_its_body() -> None:
    body = b'{"t":[1,2],"text":"\xc3\xa9"}'
    whole = ndjson.line("chart", 200, body, '"a-b-zstd"')
    assert whole == b'{"name":"chart","status":200,"etag":"\\"a-b-zstd\\"","body":' + body + b"}\n"
    assert json.loads(whole)["etag"] == '"a-b-zstd"'
    assert ndjson.line("head", 200, b"{}") == b'{"name":"head","status":200,"body":{}}\n'


def test_failure_is_the_canonical_error_with_its_status() -> None:
    told = json.loads(ndjson.failure("run", BackendTimeout("too late", {"at": {1}}), "id-1"))
    error = {"code": "BACKEND_TIMEOUT", "message": "too late", "details": {"at": "{1}", "correlation_id": "id-1"}}
    assert told == {"name": "run", "status": 504, "body": {"error": error}}


def test_refusal_in_the_canonical_shape_stays_as_it_is_on_one_line() -> None:
    said = {"error": {"code": "QUOTA", "message": "no more", "details": {"until": "noon"}}, "more": 1}
    told = ndjson.refusal("chart", 429, json.dumps(said, indent=2).encode(), "id-1")
    assert told.count(b"\n") == 1
    assert json.loads(told) == {"name": "chart", "status": 429, "body": said}


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"detail":"no"}', b'{"error":"no"}', b'{"error":{}}'])
def test_refusal_in_any_other_words_is_told_in_ours(content: bytes) -> None:
    told = json.loads(ndjson.refusal("chart", 403, content, "id-1"))
    error = {"code": "FORBIDDEN", "message": "the backend answered 403", "details": {"correlation_id": "id-1"}}
    assert told == {"name": "chart", "status": 403, "body": {"error": error}}


def test_defaults_of_a_view_are_those_of_a_page() -> None:
    assert ndjson.chart_fields(b"") == (("timeframe", "1D"), ("target_points", "2000"))
    assert ndjson.chart_fields(b"timeframe=1M&target=500") == (("timeframe", "1M"), ("target", "500"))


def test_dates_without_a_value_are_not_given() -> None:
    fields = ndjson.chart_fields(b"from_date=&to_date=%20&timeframe=1D&target_points=200")
    assert fields == (("timeframe", "1D"), ("target_points", "200"))
    assert not ndjson.has_window(fields)


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        (b"from_date=2024-01-01", "to_date"),
        (b"from=2024-01-01&to_date=", "to_date"),
        (b"to=2024-01-01", "from_date"),
    ],
)
def test_one_end_of_a_window_without_the_other_is_refused_by_name(query: bytes, missing: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ndjson.chart_fields(query)
    assert list(caught.value.details["fields"]) == [missing]


def test_chart_is_of_the_runs_symbol_and_window_in_columns() -> None:
    fields = ndjson.chart_fields(b"symbol=MSFT&format=arrow&equity_points=9&rth_only=no")
    assert ndjson.chart_query(fields, "BRK/B", WINDOW) == (
        b"symbol=BRK%2FB&rth_only=no&timeframe=1D&target_points=2000"
        b"&from_date=2024-01-01&to_date=2024-12-31&format=columns"
    )


def test_window_that_is_given_counts_more_than_the_runs() -> None:
    fields = ndjson.chart_fields(b"from=2024-02-01&to_date=2024-02-29&timeframe=1H&target=100")
    assert ndjson.chart_query(fields, "AAPL", WINDOW) == (
        b"symbol=AAPL&from=2024-02-01&to_date=2024-02-29&timeframe=1H&target=100&format=columns"
    )


@pytest.mark.parametrize(
    ("first", "last", "window"),
    [
        ("2024-01-01", "2024-12-31", WINDOW),
        ("2024-01-01T09:30:00-05:00", "2024-12-31T16:00:00Z", WINDOW),
        ("2024-01-01", None, None),
        (None, "2024-12-31", None),
        ("2024-13-01", "2024-12-31", None),
        (20240101, "2024-12-31", None),
        ("", "", None),
    ],
)
def test_window_of_a_run_is_its_dates(first: object, last: object, window: tuple[str, str] | None) -> None:
    assert ndjson.window_of({"run_from": first, "run_to": last}) == window


def test_run_without_dates_has_no_window() -> None:
    assert ndjson.window_of({}) is None
