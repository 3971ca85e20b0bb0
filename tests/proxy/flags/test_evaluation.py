"""What flags evaluate to: percentages that stay with whom they have, and changes over definitions."""

import json
import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_proxy.flags.definitions import KEYS, parse
from bff_proxy.flags.evaluation import FlagSet, nothing_defined
from bff_proxy.flags.overrides import Change, Entry, Stored, layered, pack, unpack_entry
from tests.support.flags import document, flag, percentage

calm = settings(max_examples=50)
PERCENT = st.integers(0, 100)
WHO = st.text(min_size=1, max_size=40)
CHANGE = Change("bff", None, 30, "try it", "ann", 1_700_000_000.5)


def flags(change: Change | None = None, **bodies: object) -> FlagSet:
    return FlagSet(parse(document(bodies)), {} if change is None else {change.key: change})


def is_on(found: FlagSet, who: str, key: str = "bff") -> bool:
    return bool(found.evaluate(key, {"targetingKey": who}).value)


RUNTIME = [flags(replace(CHANGE, rollout=n)) for n in range(101)]


@calm
@given(WHO, PERCENT, PERCENT)
def test_raising_a_percentage_removes_nobody(who: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert not is_on(RUNTIME[low], who) or is_on(RUNTIME[high], who)


@calm
@given(st.lists(WHO, max_size=30), *[st.tuples(st.integers(0, 1000), st.integers(0, 1000)).filter(any)] * 2)
def test_a_larger_share_removes_nobody_whatever_the_weights(
    people: list[str], one: tuple[int, int], other: tuple[int, int]
) -> None:
    (on, off), (more_on, more_off) = sorted((one, other), key=lambda pair: pair[0] / sum(pair))
    low = flags(bff=flag("off", targeting=percentage(on, off)))
    high = flags(bff=flag("off", targeting=percentage(more_on, more_off)))
    assert all(is_on(high, who) for who in people if is_on(low, who))


@calm
@given(WHO)
def test_nobody_at_0_and_everybody_at_100(who: str) -> None:
    assert not is_on(RUNTIME[0], who)
    assert is_on(RUNTIME[100], who)


def test_a_percentage_is_that_share_of_people() -> None:
    people = [f"user-{n}" for n in range(4000)]
    for percent in (5, 30, 80):
        share = sum(is_on(RUNTIME[percent], who) for who in people) / len(people)
        assert share == pytest.approx(percent / 100, abs=0.03)


def test_who_is_chosen_does_not_depend_on_the_process() -> None:
    chosen = [who for n in range(20) if is_on(RUNTIME[30], who := f"user-{n}")]
    assert chosen == [who for who in (f"user-{n}" for n in range(20)) if is_on(flags(CHANGE), who)]
    # flagd divides by murmur3 of the CBOR of [flag key, targeting key]: any flagd chooses the same people.
    assert chosen == ["user-2", "user-8", "user-13"]


def test_flags_choose_different_people() -> None:
    both = FlagSet(parse(document()), {key: replace(CHANGE, key=key, rollout=50) for key in ("bff", "chart_data")})
    people = [f"user-{n}" for n in range(200)]
    assert any(is_on(both, who) != is_on(both, who, "chart_data") for who in people)


def test_reasons_are_those_of_openfeature() -> None:
    rules = {"if": [{"==": [{"var": "email"}, "a@b.c"]}, "on"]}
    found = flags(
        bff=flag("off", targeting=percentage(50)),
        chart_data=flag("off", targeting=rules),
        run_data={**flag(), "state": "DISABLED"},
    )
    context = {"targetingKey": "ann", "email": "a@b.c"}
    assert [found.evaluate(key, context).reason for key in found.flags] == [
        "SPLIT",
        "TARGETING_MATCH",
        "DISABLED",
        "STATIC",
    ]
    assert [found.evaluate(key, {}).reason for key in ("bff", "chart_data")] == ["DEFAULT", "DEFAULT"]


def test_disabled_flag_has_no_value() -> None:
    found = flags(bff={**flag(), "state": "DISABLED"}).evaluate("bff", {})
    assert (found.value, found.variant) == (None, "")


def test_rules_that_fail_for_somebody_fail_for_that_flag_alone() -> None:
    rules = {"if": [{"var": "team"}, {"var": "team"}, "off"]}
    found = flags(bff=flag("off", targeting=rules))
    assert found.evaluate("bff", {"team": "on"}).value is True
    broken = found.evaluate("bff", {"team": "no such variant"})
    assert (broken.value, broken.reason) == (None, "ERROR")


def test_unknown_flag_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        flags().evaluate("nope", {})


@pytest.mark.parametrize(("value", "rollout"), [(True, None), (False, None), (None, 0), (None, 30), (None, 100)])
def test_change_lies_over_the_definition(value: bool | None, rollout: int | None) -> None:
    found = flags(replace(CHANGE, value=value, rollout=rollout), bff={**flag(), "state": "DISABLED"})
    definition = found.flags["bff"]
    assert definition.share == (rollout / 100 if rollout is not None else float(bool(value)))
    assert definition.rollout == rollout
    assert definition.reason == "try it"
    assert found.source("bff") == "runtime"
    assert found.definitions.flags["bff"].enabled is False


def test_who_has_no_targeting_key_is_off_until_it_is_everybody() -> None:
    assert RUNTIME[99].evaluate("bff", {}).value is False
    assert RUNTIME[100].evaluate("bff", {}).value is True


def test_change_keeps_the_names_of_variants() -> None:
    body = {"state": "ENABLED", "variants": {"new": True, "old": False}, "defaultVariant": "old"}
    found = flags(replace(CHANGE, rollout=100), bff=body).evaluate("bff", {"targetingKey": "ann"})
    assert (found.variant, found.value) == ("new", True)


def test_change_of_a_flag_that_the_file_has_no_more_is_left_out() -> None:
    found = flags(replace(CHANGE, key="gone"))
    assert "gone" not in found.flags
    assert found.changes == {}


def test_revision_is_the_same_for_the_same_flags_and_differences_are_named() -> None:
    before, after = flags(), flags(CHANGE)
    assert before.revision == flags().revision != after.revision
    assert after.differences(before) == ["bff"]
    assert flags(replace(CHANGE, reason="another")).differences(after) == ["bff"]
    assert after.differences(flags(CHANGE)) == []


def test_revision_does_not_depend_on_the_order_of_the_file() -> None:
    body = json.loads(document())
    turned = {"flags": dict(reversed([(key, dict(reversed(value.items()))) for key, value in body["flags"].items()]))}
    assert FlagSet(parse(json.dumps(turned).encode()), {}).revision == flags().revision


def test_a_process_that_has_read_no_file_has_every_flag_off() -> None:
    found = nothing_defined()
    assert [found.evaluate(key, {}).value for key in KEYS] == [False] * 4


@calm
@given(
    st.one_of(
        st.tuples(st.booleans(), st.none()),
        st.tuples(st.none(), PERCENT),
    ),
    st.text(),
    st.floats(0, 4e9),
    st.integers(0, 2**53),
)
def test_stored_change_comes_back(
    settled: tuple[bool | None, int | None], reason: str, at: float, version: int
) -> None:
    change = Change("bff", *settled, reason, "ann", at, "rollback", "c0ffee", version)
    entry = Entry(version, change, "c0ffee")
    assert unpack_entry("bff", version, pack(entry)) == entry
    removed = Entry(version, None, "c0ffee")
    assert unpack_entry("bff", version, pack(removed)) == removed


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "other"},
        {"value": True},
        {"value": 1, "rollout": None},
        {"rollout": 101},
        {"rollout": 30.5},
        {"rollout": True},
        {"reason": 1},
        {"by": None},
        {"at": "now"},
        {"source": "file"},
        {"at": 1e300},
        {"at": float("nan")},
        {"at": -1},
        {"reason": "\ud800"},
        {"id": 7},
    ],
)
def test_what_is_no_change_of_the_flag_is_none(fields: dict[str, object]) -> None:
    content = {**json.loads(pack(Entry(1, CHANGE, ""))), **fields}
    assert unpack_entry("bff", 1, json.dumps(content).encode()) is None


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{}", b"\xff", b'{"key":"bff"}', b"[" * 100_000])
def test_damaged_change_is_none(data: bytes) -> None:
    assert unpack_entry("bff", 1, data) is None


def test_evaluation_without_a_targeting_key_is_not_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    from bff_proxy.flags.evaluation import quiet_library

    quiet_library()
    with caplog.at_level(logging.DEBUG):
        RUNTIME[30].evaluate("bff", {})
    assert caplog.records == []


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("variants", [{"on": False}, {"off": True}, {"on": False, "off": True}, {"a": True}])
def test_a_change_has_its_value_whatever_the_variants_are_called(variants: dict[str, bool], value: bool) -> None:
    body = {"state": "ENABLED", "variants": variants, "defaultVariant": next(iter(variants))}
    found = flags(replace(CHANGE, value=value, rollout=None), bff=body)
    assert found.evaluate("bff", {}).value is value
    assert layered(found.definitions.flags["bff"], None).variants == variants


def test_of_two_replicas_the_newest_of_each_flag_counts() -> None:
    old, new = Entry(3, replace(CHANGE, version=3), "a"), Entry(7, None, "b")
    stale, other = Stored(9, {"bff": old, "run_data": new}), Stored(7, {"bff": new, "chart_data": old})
    assert stale.newer_than(other) == {"run_data": new}
    joined = stale.joined(other)
    assert joined.entries == {"bff": new, "run_data": new, "chart_data": old}
    assert joined.revision == 9
    assert list(joined.changes) == ["chart_data"]
    assert other.joined(stale).entries == joined.entries


def test_a_flag_has_the_version_of_its_change_and_0_without_one() -> None:
    found = flags(replace(CHANGE, version=7))
    assert (found.version("bff"), found.version("chart_data")) == (7, 0)
    assert (found.source("bff"), found.source("chart_data")) == (CHANGE.source, "file")


def test_what_tells_two_sets_apart_is_named_whichever_has_it() -> None:
    before, after = flags(), flags(CHANGE, beta=flag("off"))
    assert after.differences(before) == before.differences(after) == ["beta", "bff"]
    assert after.differences(flags(CHANGE, beta=flag("off"))) == []
    assert before.fingerprint("bff") != after.fingerprint("bff")
    assert before.fingerprint("chart_data") == after.fingerprint("chart_data") != before.fingerprint("bff")
