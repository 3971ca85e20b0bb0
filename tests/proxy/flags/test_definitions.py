"""Definitions are checked before they count, and what is wrong is named."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_proxy.flags.definitions import KEYS, built_in, parse
from bff_proxy.flags.evaluation import FlagSet
from bff_proxy.flags.rules import BadDefinition, Rules
from tests.support.flags import SHIPPED, VARIANTS, document, flag, percentage

NAMES = st.sampled_from(
    ("on", "off", "fractional", "if", "var", "map", "reduce", "cat", "$ref", "in", "sem_ver", "", "x")
)


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


SOMEBODYS = Rules("flag 'bff'", (), None)


def nest(rule: Any, times: int, *, in_a_list: bool) -> Any:
    for _ in range(times):
        rule = {"!": [rule] if in_a_list else rule}
    return rule


@pytest.mark.parametrize(("deepest", "in_a_list"), [(32, False), (16, True)])
def test_rules_are_nested_to_a_depth_of_32_with_lists_counted(deepest: int, in_a_list: bool) -> None:
    SOMEBODYS.check(nest("on", deepest, in_a_list=in_a_list))
    with pytest.raises(BadDefinition, match="nested too deeply"):
        SOMEBODYS.check(nest("on", deepest + 1, in_a_list=in_a_list))


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_of_63_bits_are_the_largest(sign: int) -> None:
    SOMEBODYS.check({"!": sign * 2**63})
    for number in (sign * (2**63 + 1), sign * 1e19):
        with pytest.raises(BadDefinition, match="a number is too large"):
            SOMEBODYS.check({"!": number})


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
        (b'{"flags":{"bff":' + b"9" * 5_000 + b"}}", "not JSON"),
        (b'{"flags":{"bff":"\\ud800"}}', "half a character"),
        (document({f"f{n}": flag() for n in range(100)}), "more than 100 flags"),
        (document({"a b": flag()}), "flag 'a b': a key has"),
    ],
)
def test_bad_file_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(BadDefinition) as error:
        parse(data)
    assert says in str(error.value)


def choice(rule: Any) -> dict[str, Any]:
    return flag(targeting={"if": [rule, "on", "off"]})


def nested(times: int, items: Any) -> Any:
    rule: Any = {"var": ""}
    for _ in range(times):
        rule = {"map": [items, rule]}
    return rule


def doubling(operator: str, first: Any) -> Any:
    accumulator = {"var": "accumulator"}
    return {"reduce": [list(range(60)), {operator: [accumulator, accumulator]}, first]}


HUNDRED = list(range(100))
HOSTILE: dict[str, tuple[Any, str]] = {
    "nested loops": (nested(5, HUNDRED), "too large"),
    "nested loops over a context": (nested(4, {"var": "groups"}), "too large"),
    "two loops that take long": ({"some": [HUNDRED, {"some": [HUNDRED, {"==": [1, 2]}]}]}, "take too long"),
    "text that doubles": (doubling("cat", "x"), "`reduce` may not use 'cat'"),
    "list that doubles": (doubling("merge", [1]), "`reduce` may not use 'merge'"),
    "number that is squared": (doubling("*", 3), "`reduce` may not use '*'"),
    "list of accumulators": ({"reduce": [HUNDRED, [{"var": "accumulator"}] * 2, 1]}, "may not make lists"),
    "lists of lists": ({"cat": [{"map": [{"map": [nested(1, HUNDRED)] * 2}, [{"var": ""}] * 200]}]}, "too l"),
    "many long texts": ({"cat": [{"var": "text"}] * 200}, "too large"),
    "huge number": ({"*": [2**64, 2]}, "number is too large"),
    "reference that is no text": ({"$ref": ["team"]}, "no evaluator"),
}


@pytest.mark.parametrize(("rule", "says"), HOSTILE.values(), ids=HOSTILE)
def test_rule_that_could_hold_up_the_process_is_refused_by_its_name(rule: Any, says: str) -> None:
    with pytest.raises(BadDefinition) as error:
        parse(document({"run_data": choice(rule)}))
    assert str(error.value).startswith("flag 'run_data': ")
    assert says in str(error.value)


def test_references_that_grow_or_go_in_circles_are_refused() -> None:
    growing: dict[str, Any] = {"e0": {"==": [1, 1]}}
    growing |= {f"e{n}": {"and": [{"$ref": f"e{n - 1}"}] * 10} for n in range(1, 12)}
    chain: dict[str, Any] = {"e0": {"==": [1, 1]}} | {f"e{n}": {"!": [{"$ref": f"e{n - 1}"}]} for n in range(1, 500)}
    circle = {"e0": {"!": [{"$ref": "e1"}]}, "e1": {"!": [{"$ref": "e0"}]}}
    for evaluators, last, says in (
        (growing, "e11", "too large"),
        (chain, "e499", "too large"),
        (circle, "e0", "itself"),
    ):
        with pytest.raises(BadDefinition, match=says):
            parse(document({"run_data": choice({"$ref": last})}, {"$evaluators": evaluators}))


def test_all_flags_together_are_bounded() -> None:
    loop = choice({"some": [{"var": "groups"}, {"==": [{"var": ""}, "staff"]}]})
    assert len(parse(document({f"f{n}": loop for n in range(5)})).flags) == len(KEYS) + 5
    with pytest.raises(
        BadDefinition, match=r"flag 'f\d+': evaluating it, and the flags before it, could take too long"
    ):
        parse(document({f"f{n}": loop for n in range(90)}))


@pytest.mark.parametrize(
    "rule",
    [
        {"in": ["staff", {"map": [{"filter": [{"var": "groups"}, {"var": "active"}]}, {"var": "name"}]}]},
        {">": [{"reduce": [{"var": "ages"}, {"+": [{"var": "accumulator"}, {"var": "current"}]}, 0]}, 100]},
        {"ends_with": [{"cat": [{"var": "name"}, "@", {"var": "domain"}]}, "@example.com"]},
        {"or": [{"==": [{"var": "team"}, f"team-{n}"]} for n in range(200)]},
        {"in": [{"var": "user"}, [f"user-{n}" for n in range(2000)]]},
    ],
)
def test_what_rules_are_made_of_is_taken(rule: Any) -> None:
    flags = FlagSet(parse(document({"run_data": choice(rule)})), {})
    assert flags.evaluate("run_data", {"targetingKey": "ann"}).value is False


def test_evaluator_may_hold_any_text() -> None:
    evaluators = {"team": {"==": [{"var": "team"}, '\u00e9\\d "quoted"']}}
    flags = FlagSet(parse(document({"bff": choice({"$ref": "team"})}, {"$evaluators": evaluators})), {})
    assert flags.evaluate("bff", {"team": '\u00e9\\d "quoted"'}).value is True


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("state", "variants", "defaultVariant", "targeting"), JSON_VALUES))
)
def test_whatever_a_flag_holds_it_is_taken_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(BadDefinition):
        FlagSet(parse(document({"bff": {**flag(), **body}})), {}).evaluate("bff", {"targetingKey": "ann"})


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


@pytest.mark.parametrize("weights", [(1, 0), (2**31 - 2, 1), (0, 1)])
def test_weights_may_add_up_to_all_that_flagd_divides_by(weights: tuple[int, int]) -> None:
    FlagSet(parse(document({"bff": flag(targeting=percentage(*weights))})), {})


def test_a_variant_without_a_weight_weighs_1() -> None:
    found = FlagSet(parse(document({"bff": flag("off", targeting={"fractional": [["on"], ["off", 2**31 - 2]]})})), {})
    assert found.evaluate("bff", {"targetingKey": "ann"}).reason == "SPLIT"
    with pytest.raises(BadDefinition, match="add up"):
        FlagSet(parse(document({"bff": flag("off", targeting={"fractional": [["on"], ["off", 2**31 - 1]]})})), {})
