"""Definitions are checked before they count, and what is wrong is named."""

import json
from typing import Any

import pytest

from bff_proxy.flag_definitions import KEYS, built_in, parse
from bff_proxy.flag_rules import BadDefinition
from bff_proxy.flags import FlagSet
from tests.support.flags import SHIPPED, VARIANTS, document, flag, percentage


def test_shipped_definitions_are_good_and_on() -> None:
    definitions = parse(SHIPPED.read_bytes())
    assert tuple(definitions.flags) == KEYS
    assert all(found.default and found.description for found in definitions.flags.values())


def test_without_definitions_every_flag_is_off() -> None:
    flags = FlagSet(built_in(), {})
    assert [flags.evaluate(key, {}).value for key in KEYS] == [False] * 4


BAD_FLAGS: dict[str, tuple[Any, str]] = {
    "no object": (True, "expected an object"),
    "no state": ({**flag(), "state": "ON"}, "state must be"),
    "no variants": ({**flag(), "variants": {}}, "variants must be"),
    "variants of text": ({**flag(), "variants": {"on": "yes"}}, "variants must be"),
    "unknown default": (flag("maybe"), "defaultVariant"),
    "no default": ({**flag(), "defaultVariant": None}, "defaultVariant"),
    "misspelled field": ({**flag(), "tageting": {}}, "unknown field 'tageting'"),
    "list for rules": (flag(targeting=[1]), "a rule must be an object"),
    "two operators": (flag(targeting={"if": [True, "on"], "!": [1]}), "exactly one operator"),
    "unknown operator": (flag(targeting={"fractionl": []}), "unknown operator 'fractionl'"),
    "unknown operator inside": (flag(targeting={"if": [{"startswith": [1]}, "on"]}), "unknown operator 'startswith'"),
    "missing evaluator": (flag(targeting={"if": [{"$ref": "team"}, "on"]}), "no evaluator 'team'"),
    "empty percentage": (flag(targeting={"fractional": []}), "fractional needs a list"),
    "percentage of nothing": (flag(targeting=percentage(0, 0)), "add up to 1"),
    "percentage of too much": (flag(targeting=percentage(2**31)), "weight of 'off'"),
    "weights too large": (flag(targeting=percentage(2**31, 1)), "add up to 1 at least"),
    "negative weight": (flag(targeting=percentage(-1)), "weight of 'on'"),
    "weight of text": (flag(targeting={"fractional": [["on", "30"]]}), "weight of 'on'"),
    "bare weight": (flag(targeting={"fractional": ["on", 30]}), "[variant, weight] pairs"),
    "percentage of an unknown variant": (flag(targeting={"fractional": [["blue", 1]]}), "'blue', which is no variant"),
    "off before on": (flag(targeting={"fractional": [["off", 70], ["on", 30]]}), "true first"),
    "metadata of lists": (flag(metadata={"owner": ["a"]}), "metadata 'owner'"),
    "metadata is a text": (flag(metadata="a"), "metadata must be an object"),
    "rules that fail": (flag(targeting={"if": [True, "neither"]}), "neither"),
}


@pytest.mark.parametrize(("body", "says"), BAD_FLAGS.values(), ids=BAD_FLAGS)
def test_bad_flag_is_refused_by_its_name(body: Any, says: str) -> None:
    with pytest.raises(BadDefinition) as error:
        FlagSet(parse(document({"run_data": body})), {})
    assert str(error.value).startswith("flag 'run_data': ")
    assert says in str(error.value)


def test_deep_nesting_is_refused() -> None:
    rule: Any = "on"
    for _ in range(40):
        rule = {"if": [True, rule]}
    with pytest.raises(BadDefinition, match="nested too deeply"):
        parse(document({"bff": flag(targeting=rule)}))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "an object with `flags`"),
        (b'{"flags":[]}', "an object with `flags`"),
        (document(more={"flag": {}}), "unknown field 'flag'"),
        (document(more={"$evaluators": []}), "`$evaluators` must be"),
        (document(more={"$evaluators": {"team": {"inn": [1]}}}), "evaluator 'team': unknown operator"),
        (b'{"flags":{"bff":1,"bff":2}}', "'bff': defined twice"),
        (b'{"flags":{"bff":NaN}}', "NaN is not JSON"),
        (document({f"f{n}": flag() for n in range(100)}), "more than 100 flags"),
        (document({"a b": flag()}), "flag 'a b': a key has"),
    ],
)
def test_bad_file_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadDefinition) as error:
        parse(data)
    assert says in str(error.value)


@pytest.mark.parametrize("key", KEYS)
def test_file_without_one_of_the_four_flags_is_refused(key: str) -> None:
    content = json.loads(document())
    del content["flags"][key]
    with pytest.raises(BadDefinition, match=f"flag '{key}': missing"):
        parse(json.dumps(content).encode())


def test_more_flags_and_rules_of_flagd_are_taken() -> None:
    rule = {"if": [{"and": [{"$ref": "staff"}, {"sem_ver": [{"var": "version"}, ">=", "2.0.0"]}]}, "on", "off"]}
    staff = {"ends_with": [{"var": "email"}, "@example.com"]}
    flags = FlagSet(parse(document({"beta": flag("off", targeting=rule)}, {"$evaluators": {"staff": staff}})), {})
    assert flags.evaluate("beta", {"email": "a@example.com", "version": "2.1.0"}).value is True
    assert flags.evaluate("beta", {"email": "a@example.com", "version": "1.9.0"}).value is False
    assert flags.evaluate("beta", {}).value is False
    assert flags.flags["beta"].share is None
    assert flags.flags["beta"].rollout is None


@pytest.mark.parametrize(
    ("body", "share", "rollout"),
    [
        (flag("on"), 1.0, None),
        (flag("off"), 0.0, None),
        (flag("off", targeting=percentage(25)), 0.25, 25.0),
        (flag("off", targeting=percentage(1, 2)), 1 / 3, 33.3333),
        (flag("off", targeting={"fractional": [["on"], ["off"]]}), 0.5, 50.0),
        (flag("off", targeting={"fractional": [{"var": "email"}, ["on", 10], ["off", 90]]}), 0.1, 10.0),
        ({**flag("on"), "state": "DISABLED"}, 0.0, None),
    ],
)
def test_share_and_percentage_are_told(body: dict[str, Any], share: float, rollout: float | None) -> None:
    definition = parse(document({"bff": body})).flags["bff"]
    assert definition.share == pytest.approx(share)
    assert definition.rollout == rollout


def test_variants_may_have_other_names() -> None:
    body = {"state": "ENABLED", "variants": {"new": True, "old": False}, "defaultVariant": "old"}
    assert parse(document({"bff": body})).flags["bff"].variant_of(True) == "new"
    assert VARIANTS == {"on": True, "off": False}
