"""Charts are fetched before anybody asks for them."""

from collections.abc import Mapping
from datetime import date
from urllib.parse import parse_qsl, urlsplit

from bff_tools.outside import Answer
from bff_tools.warm import MOST_WAIT_SECONDS, TRIES, WINDOWS, last_day, paths, warm


class FakeOrigin:
    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.slept: list[float] = []

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        self.asked.append((path, headers))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def warm(self) -> str:
        return warm(self.get, "/chart", {"Authorization": "Bearer x"}, self.slept.append)


def test_each_window_ends_today_and_a_symbol_is_asked_for_as_it_is_spelled() -> None:
    asked = [dict(parse_qsl(urlsplit(path).query)) for path in paths("BRK.B/x y", date(2026, 3, 1))]
    assert [query["timeframe"] for query in asked] == [timeframe for timeframe, _ in WINDOWS]
    assert {(query["symbol"], query["to_date"]) for query in asked} == {("BRK.B/x y", "2026-03-01")}
    assert asked[0]["from_date"] == "2026-02-22"


def test_what_is_there_is_asked_for_once_with_the_credentials() -> None:
    origin = FakeOrigin(Answer(200))
    assert origin.warm() == ""
    assert origin.asked == [("/chart", {"Authorization": "Bearer x"})]
    assert origin.slept == []


def test_what_is_still_being_fetched_is_asked_for_again_when_it_was_told_to() -> None:
    origin = FakeOrigin(
        Answer(503, {"retry-after": "2"}), Answer(504), Answer(503, {"retry-after": "3600"}), Answer(200)
    )
    assert origin.warm() == ""
    assert origin.slept == [2.0, 1.0, MOST_WAIT_SECONDS]


def test_what_cannot_be_had_says_why() -> None:
    assert FakeOrigin(Answer(404, {}, b"unknown symbol")).warm() == "404 unknown symbol"
    away = FakeOrigin(Answer(error="refused"))
    assert away.warm() == "refused"
    assert len(away.asked) == TRIES
    assert len(away.slept) == TRIES - 1


def test_where_the_bars_have_ended_their_last_days_are_asked_for() -> None:
    today = date(2026, 3, 1)
    ended = b'{"error":{"details":{"known":{"from_date":"2024-01-02","to_date":"2025-12-31"}}}}'
    assert last_day(Answer(404, {}, ended), today) == date(2025, 12, 31)
    for other in (b"", b"[]", b'{"error":{"details":{"known":{"to_date":"soon"}}}}', b'{"bars":[]}'):
        assert last_day(Answer(200, {}, other), today) == today
