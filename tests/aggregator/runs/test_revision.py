from typing import Any

import pytest

from bff_aggregator.backend.part import Part, State, failed_part, skipped_part
from bff_aggregator.runs import revision
from bff_aggregator.runs.revision import HOUR, lifetime, revision_of, take_snapshot

CREATED = "2026-01-01T00:00:00+00:00"
T0 = 1_767_225_600.0  # CREATED


def run(status: str = "DONE", **fields: Any) -> dict[str, Any]:
    return {"run_id": "r", "status": status, "created_at": CREATED, "duration_ms": None, **fields}


def part(began: float, state: State = State.OK) -> Part:
    return Part("equity", state, began=began, at=began + 1)


def test_revision_tells_states_apart_and_nothing_else() -> None:
    same = {revision_of(run()), revision_of(run(extra={"progress": 0.4})), revision_of(run(params={"a": 1}))}
    others = {revision_of(run("RUNNING")), revision_of(run(duration_ms=5)), revision_of(run(created_at="2026-01-02"))}
    assert (len(same), len(others), len(same & others)) == (1, 3, 0)


def test_sighting_remembers_since_when_the_run_is_in_its_state() -> None:
    first = take_snapshot(run("RUNNING"), None, T0 + 10)
    again = take_snapshot(run("RUNNING"), first, T0 + 20)
    done = take_snapshot(run(), again, T0 + 30)
    assert (first.since, again.since, again.at, done.since) == (T0 + 10, T0 + 10, T0 + 20, T0 + 30)
    assert [first.finished, done.finished] == [False, True]


def test_end_of_a_run_is_its_creation_plus_its_duration() -> None:
    assert take_snapshot(run(duration_ms=2500), None, T0 + 9000).finished_at == T0 + 2.5


def test_end_of_a_run_that_waited_is_when_it_was_last_seen_unfinished() -> None:
    running = take_snapshot(run("RUNNING"), None, T0 + 5000)
    done = take_snapshot(run(duration_ms=2500), running, T0 + 5001)
    assert done.finished_at == T0 + 5000
    assert take_snapshot(run(duration_ms=2500), done, T0 + 6000).finished_at == T0 + 5000


def test_end_of_a_run_without_times_is_when_it_was_seen() -> None:
    assert take_snapshot(run(created_at=None), None, T0).finished_at == T0


def test_part_has_to_be_asked_for_after_its_revision_was_seen() -> None:
    assert take_snapshot(run("RUNNING"), None, T0 + 10).earliest() == T0 + 10


def test_part_of_a_run_over_for_an_hour_may_be_asked_for_before_the_run_was_seen() -> None:
    assert take_snapshot(run(duration_ms=0), None, T0 + 3 * HOUR).earliest() == T0 + HOUR
    assert take_snapshot(run(duration_ms=0), None, T0 + HOUR / 2).earliest() == T0 + HOUR / 2


@pytest.mark.parametrize(
    ("status", "age", "state", "seconds"),
    [
        ("RUNNING", 5, State.OK, 60),
        ("QUEUED", 5, State.MISSING, 60),
        ("DONE", 60, State.OK, 300),
        ("DONE", HOUR + 1, State.OK, HOUR),
        ("ERROR", HOUR + 1, State.OK, HOUR),
        ("DONE", HOUR + 1, State.MISSING, 60),
    ],
)
def test_lifetime_follows_the_status(status: str, age: float, state: State, seconds: float) -> None:
    now = T0 + age
    assert lifetime(part(now, state), take_snapshot(run(status, duration_ms=0), None, now), now) == seconds


def test_whole_is_settled_only_if_nothing_can_change() -> None:
    snapshot = take_snapshot(run(), None, T0)
    good = {"metrics": part(T0), "equity": part(T0, State.MISSING), "orders": skipped_part("orders")}
    assert revision.RunBundle(snapshot, good).settled
    for state in (State.FAILED, State.TIMEOUT, State.STALE):
        assert not revision.RunBundle(snapshot, {**good, "metrics": part(T0, state)}).settled
    assert not revision.RunBundle(take_snapshot(run("RUNNING"), None, T0), good).settled


def test_report_says_state_age_source_and_error() -> None:
    late = failed_part("equity", State.TIMEOUT, {"code": "BACKEND_TIMEOUT", "message": "late"}, T0, T0)
    kept = Part("metrics", State.OK, at=T0 - 2, source="cache", extra={"unit": "USD"}, rejected=3)
    bundle = revision.RunBundle(
        take_snapshot(run(), None, T0), {"metrics": kept, "equity": late, "orders": skipped_part("orders")}
    )
    assert revision.report(bundle, T0 + 1) == {
        "run": {"state": "ok", "age_ms": 1000, "source": "backend"},
        "metrics": {"state": "ok", "age_ms": 3000, "source": "cache", "extra": {"unit": "USD"}, "rejected": 3},
        "equity": {
            "state": "timeout",
            "age_ms": 1000,
            "source": "backend",
            "error": {"code": "BACKEND_TIMEOUT", "message": "late"},
        },
        "orders": {"state": "skipped", "age_ms": None, "source": None},
    }
