"""What evaluating a targeting rule may take at most, known before anybody evaluates it. Pure.

JsonLogic has loops (`map`, `reduce`, …) and operators that make long texts and lists of short ones. A few lines of
them can take for ever, or all memory, and they are evaluated on the event loop. So the steps and the sizes of the
results are bounded here. Most of what a rule costs is reading what a client says of itself: the same comparison takes
50 times as long with a list of 256 numbers as with a name. So definitions that cost little are evaluated with large
attributes too, those that cost much only with small ones: `largest_attributes` says which.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bff_proxy.flags.rules import DEEPEST, BadDefinition

MAX_STEPS = 3_000
"""Steps that evaluating all flags of a file may take. A step is about a microsecond on a machine that is not busy."""

MAX_SIZE = 1024 * 1024
"""Characters and values of one result."""

MAX_NODES = 10_000
"""Operators and operands of a rule when its references are written out."""

_LOOPS = frozenset(("filter", "map", "reduce", "all", "some", "none"))
_CHOICES = frozenset(("if", "?:", "and", "or"))
_SUMS = frozenset(("cat", "merge", "missing", "missing_some", "*"))
_GROWS = _LOOPS | _SUMS | {"fractional", "substr"}
_OPERATION = 3
_SLOW: Mapping[str, int] = {"sem_ver": 60, "fractional": 40}
"""Steps of operators that take longer than others, which also read what they are given more slowly."""

_SLOWER = 4
_PER_STEP = 128
"""Characters that are read in the time of a step; a value that is no text takes three quarters of one."""

_ITEM = 6
"""Steps of a loop for each item, besides what it does with it."""

_SMALL = 32


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that evaluating something takes: steps, and of its result characters, items, and values at any depth."""

    steps: int
    size: int
    length: int = 0
    values: int = 1

    @property
    def reading(self) -> int:
        """Steps to look at all of the result once."""
        return 3 * self.values // 4 + self.size // _PER_STEP


@dataclass(frozen=True, slots=True)
class Size:
    """How much a client may say of itself: values, those in lists and objects included, and characters of all texts."""

    values: int
    characters: int

    def holds(self, values: int, characters: int) -> bool:
        """Tell whether so much is within it."""
        return values <= self.values and characters <= self.characters

    def cost(self) -> Cost:
        """Return what it costs to have it."""
        return Cost(_OPERATION, self.characters + self.values, self.values, self.values)


CONTEXT = Size(256, 16 * 1024)
"""The largest evaluation context."""

ATTRIBUTES = (CONTEXT, Size(64, 4096), Size(16, 1024), Size(4, 256))
"""What the largest attribute of a context may be, depending on what the definitions cost."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What `var` finds: all there is, or an attribute of it."""

    whole: Cost
    attribute: Cost


def largest_attributes(name: str, rules: Mapping[str, Any]) -> Size:
    """Return how large attributes may be for rules, by the flags' keys, to be evaluated one after the other in time.

    Raises BadDefinition if they could take too long with the smallest ones, or make a result that is too large.
    """
    for size in ATTRIBUTES:
        scope, steps, too_long = _Scope(CONTEXT.cost(), size.cost()), 0, ""
        for key, rule in rules.items():
            steps += cost(f"{name} {key!r}", rule, scope).steps
            if steps > MAX_STEPS:
                too_long = key
                break
        if not too_long:
            return size
    raise BadDefinition(f"{name} {too_long!r}: evaluating it, and the flags before it, could take too long")


def written_out(name: str, rule: Any, evaluators: Mapping[str, Any]) -> Any:
    """Return a rule with its references replaced; raises BadDefinition if they go in circles, or make it too large."""
    left = MAX_NODES

    def expand(part: Any, within: tuple[str, ...], depth: int = 0) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > 2 * DEEPEST:
            raise BadDefinition(f"{name}: the rule is too large with its references written out")
        if isinstance(part, list):
            return [expand(one, within, depth + 1) for one in part]
        if not isinstance(part, dict):
            return part
        if part.keys() == {"$ref"}:
            reference = part["$ref"]
            if reference in within:
                raise BadDefinition(f"{name}: evaluator {reference!r} refers to itself")
            return expand(evaluators[reference], (*within, reference), depth + 1)
        return {key: expand(value, within, depth + 1) for key, value in part.items()}

    return expand(rule, ())


def cost(name: str, rule: Any, scope: _Scope) -> Cost:
    """Return what evaluating a rule takes at most; raises BadDefinition if a result could be too large."""
    if isinstance(rule, list):
        parts = [cost(name, part, scope) for part in rule]
        constants = sum(not isinstance(part, list | dict) for part in rule)
        steps = 1 + sum(p.steps for p in parts) - constants // 2  # of which two take the time of a step
        return Cost(steps, 1 + sum(p.size for p in parts), len(parts), 1 + sum(p.values for p in parts))
    if not isinstance(rule, dict) or len(rule) != 1:
        return Cost(1, len(rule) if isinstance(rule, str) else _SMALL)
    ((operator, operands),) = rule.items()
    operands = operands if isinstance(operands, list) else [operands]
    found = _loop(name, operator, operands, scope) if operator in _LOOPS else _plain(name, operator, operands, scope)
    if found.size > MAX_SIZE:
        raise BadDefinition(f"{name}: the result of {operator!r} could be too large")
    return found


def _plain(name: str, operator: str, operands: list[Any], scope: _Scope) -> Cost:
    parts = [cost(name, operand, scope) for operand in operands]
    steps, longest = _OPERATION + sum(p.steps for p in parts), max((p.size for p in parts), default=0)
    length, values = max((p.length for p in parts), default=0), max((p.values for p in parts), default=1)
    if operator == "var":
        is_attribute = bool(operands) and isinstance(operands[0], str) and operands[0] != ""
        found = scope.attribute if is_attribute else scope.whole
        steps += longest // _PER_STEP
        return Cost(steps, max(found.size, longest), max(found.length, length), max(found.values, values))
    if operator in _CHOICES:
        return Cost(steps, longest, length, values)
    steps += sum(p.reading for p in parts) * (_SLOWER if operator in _SLOW else 1) + _SLOW.get(operator, 0)
    if operator in _SUMS:
        size, values = sum(p.size for p in parts), sum(p.values for p in parts)
        return Cost(steps, size, sum(max(1, p.length) for p in parts), values)
    return Cost(steps, max(_SMALL, longest) if operator in _GROWS else _SMALL)


def _loop(name: str, operator: str, operands: list[Any], scope: _Scope) -> Cost:
    """Return the cost of a loop. Of the items, which together have the list's size, each is as large as the average."""
    if not operands:
        return Cost(1, _SMALL)
    items, *rest = operands
    over = cost(name, items, scope)
    initial = cost(name, rest[1], scope) if operator == "reduce" and len(rest) > 1 else Cost(0, 0)
    if operator == "reduce" and rest:
        _check_reduction(name, rest[0])
    count = max(1, over.length)
    size, values = max(over.size // count, initial.size, _SMALL), max(over.values // count, initial.values)
    item = Cost(_OPERATION, size, over.length, values)
    body = cost(name, rest[0], _Scope(item, item)) if rest else Cost(0, _SMALL)
    steps = _OPERATION + over.steps + initial.steps + over.length * (_ITEM + body.steps)
    if operator == "map":
        return Cost(steps, 1 + over.length * body.size, over.length, 1 + over.length * body.values)
    if operator in {"filter", "reduce"}:
        return Cost(steps, max(over.size, body.size), over.length, max(over.values, body.values))
    return Cost(steps, _SMALL)


def _check_reduction(name: str, body: Any) -> None:
    """Refuse what could make the accumulator grow with each item: twice as large each time is soon too large."""
    if isinstance(body, list):
        raise BadDefinition(f"{name}: `reduce` may not make lists")
    if not isinstance(body, dict):
        return
    for operator, operands in body.items():
        if operator in _GROWS:
            raise BadDefinition(f"{name}: `reduce` may not use {operator!r}")
        for operand in operands if isinstance(operands, list) else [operands]:
            _check_reduction(name, operand)
