import pytest
from pydantic import ValidationError

from bff_demo.faults import ActiveRule, Rule, choose


def active(**fields: object) -> ActiveRule:
    return ActiveRule(Rule.model_validate(fields), seed=1)


def test_rule_without_conditions_meets_everything() -> None:
    assert active(refuse=True).matches("DELETE", "/anything")


@pytest.mark.parametrize(
    ("fields", "met"),
    [
        ({"path_prefix": "/backtests"}, True),
        ({"path_prefix": "/bars"}, False),
        ({"path_pattern": "/equity$"}, True),
        ({"path_pattern": "^/equity"}, False),
        ({"path_prefix": "/bars", "path_pattern": "equity"}, False),
        ({"methods": ["GET"]}, True),
        ({"methods": ["POST"]}, False),
    ],
)
def test_rule_meets_requests_by_path_and_method(fields: dict[str, object], met: bool) -> None:
    assert active(**fields).matches("GET", "/backtests/abc/equity") is met


def test_first_matching_rule_applies() -> None:
    one, other = active(path_prefix="/a", latency_ms=1), active(latency_ms=2)
    assert choose([one, other], "GET", "/a") is one
    assert choose([one, other], "GET", "/b") is other
    assert choose([one], "GET", "/b") is None
    assert (one.matched, other.matched) == (1, 1)


def test_rule_skips_the_first_and_ends_after_so_many() -> None:
    rule = active(skip=2, times=2)
    assert [choose([rule], "GET", "/") is rule for _ in range(6)] == [False, False, True, True, False, False]
    assert rule.report() == {"skip": 2, "times": 2, "matched": 4, "applied": 2, "killed": 0}


def test_error_rate_is_repeatable() -> None:
    first, second = active(error_rate=0.3), active(error_rate=0.3)
    decisions = [first.fails() for _ in range(1000)]
    assert decisions == [second.fails() for _ in range(1000)]
    assert 250 < sum(decisions) < 350


def test_error_status_alone_means_every_request() -> None:
    assert active(error_status=500).fails()
    assert not active(latency_ms=5).fails()
    assert active(error_rate=1).rule.status == 503


def test_kills_are_limited() -> None:
    rule = active(ws_kill_after_frames=2, ws_kill_times=1)
    assert [rule.kills(1), rule.kills(2), rule.kills(2)] == [False, True, False]


@pytest.mark.parametrize(
    "fields", [{"latency": 5}, {"latency_ms": -1}, {"error_rate": 2}, {"error_status": 200}, {"path_pattern": "("}]
)
def test_bad_rule_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        active(**fields)
