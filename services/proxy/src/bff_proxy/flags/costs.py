"""What evaluating a targeting rule may take at most, known before anybody evaluates it. Pure.

JsonLogic has loops (`map`, `reduce`, …) and operators that make long texts and lists of short ones. A few lines of
them can take for ever, or all memory, and they are evaluated on the event loop. So the steps and the sizes of the
results are bounded here, for the largest context that is let in; how large that is, is said here too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bff_proxy.flags.rules import DEEPEST, BadDefinition

MAX_STEPS = 10_000
"""Operators and operands that evaluating all flags of a file may take: about 10 ms."""

MAX_SIZE = 1024 * 1024
"""Characters and values of one result."""

MAX_NODES = MAX_STEPS
"""Operators and operands of a rule when its references are written out."""

CONTEXT_VALUES = 256
"""Values in an evaluation context, those in lists and objects included."""

CONTEXT_SIZE = 16 * 1024
"""Characters of all texts in a context."""

_LOOPS = frozenset(("filter", "map", "reduce", "all", "some", "none"))
_CHOICES = frozenset(("if", "?:", "and", "or"))
_SUMS = frozenset(("cat", "merge", "missing", "missing_some", "*"))
_GROWS = _LOOPS | _SUMS | {"fractional", "substr"}
_PER_STEP = 1024
"""Characters that are read in the time of a step."""

_SMALL = 32


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that evaluating something takes: steps, and the size and number of items of its result."""

    steps: int
    size: int
    length: int = 0


CONTEXT = Cost(1, CONTEXT_SIZE + CONTEXT_VALUES, CONTEXT_VALUES)


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


def cost(name: str, rule: Any, context: Cost = CONTEXT) -> Cost:
    """Return what evaluating a rule takes at most; raises BadDefinition if a result could be too large."""
    if isinstance(rule, list):
        parts = [cost(name, part, context) for part in rule]
        return Cost(1 + sum(p.steps for p in parts), 1 + sum(p.size for p in parts), len(parts))
    if not isinstance(rule, dict) or len(rule) != 1:
        return Cost(1, len(rule) if isinstance(rule, str) else _SMALL)
    ((operator, operands),) = rule.items()
    operands = operands if isinstance(operands, list) else [operands]
    found = (
        _loop(name, operator, operands, context) if operator in _LOOPS else _plain(name, operator, operands, context)
    )
    if found.size > MAX_SIZE:
        raise BadDefinition(f"{name}: the result of {operator!r} could be too large")
    return found


def _plain(name: str, operator: str, operands: list[Any], context: Cost) -> Cost:
    parts = [cost(name, operand, context) for operand in operands]
    steps, longest = 1 + sum(p.steps for p in parts), max((p.size for p in parts), default=0)
    length = max((p.length for p in parts), default=0)
    if operator == "var":
        return Cost(steps, max(context.size, longest), max(context.length, length))
    if operator in _CHOICES:
        return Cost(steps, longest, length)
    steps += sum(p.size for p in parts) // _PER_STEP
    if operator in _SUMS:
        return Cost(steps, sum(p.size for p in parts), sum(max(1, p.length) for p in parts))
    return Cost(steps, max(_SMALL, longest) if operator in _GROWS else _SMALL)


def _loop(name: str, operator: str, operands: list[Any], context: Cost) -> Cost:
    """Return the cost of a loop. Of the items, which together have the list's size, each is as large as the average."""
    if not operands:
        return Cost(1, _SMALL)
    items, *rest = operands
    over = cost(name, items, context)
    initial = cost(name, rest[1], context) if operator == "reduce" and len(rest) > 1 else Cost(0, 0)
    if operator == "reduce" and rest:
        _check_reduction(name, rest[0])
    item = Cost(1, max(over.size // max(1, over.length), initial.size, _SMALL), over.length)
    body = cost(name, rest[0], item) if rest else Cost(0, _SMALL)
    steps = 1 + over.steps + initial.steps + over.length * body.steps
    if operator == "map":
        return Cost(steps, 1 + over.length * body.size, over.length)
    if operator in {"filter", "reduce"}:
        return Cost(steps, max(over.size, body.size), over.length)
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
