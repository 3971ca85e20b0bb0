"""Checks targeting rules (JsonLogic with flagd's operators) before anybody is targeted by them. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from openfeature.contrib.tools.flagd.core.targeting.targeting import OPERATORS

_CONTROL = frozenset(("if", "?:", "and", "or", "filter", "reduce", "map", "all", "some", "none"))
"""JsonLogic's operators that do not evaluate all their operands; the library has them apart."""

KNOWN = (_CONTROL | OPERATORS.keys()) - {"log"}
DEEPEST = 32
MOST_WEIGHT = 2**31 - 1
"""The sum of weights that flagd divides by at most."""


MOST_NUMBER = 2**63
"""Numbers beyond are refused: those that are multiplied would go on growing."""


class BadDefinition(ValueError):
    """The definitions cannot be used; the text names the flag and says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a rule may refer to: `name` says whose it is, `variants` are None for rules that several flags share."""

    name: str
    evaluators: Collection[str]
    variants: Mapping[str, bool] | None

    def check(self, rule: Any) -> None:
        """Raise BadDefinition for operators, references and percentages that no evaluation could make sense of."""
        if not isinstance(rule, dict):
            raise BadDefinition(f"{self.name}: a rule must be an object")
        self._check(rule, 0)

    def _check(self, rule: Any, depth: int) -> None:
        if depth > DEEPEST:
            raise BadDefinition(f"{self.name}: targeting is nested too deeply")
        if isinstance(rule, int | float) and not isinstance(rule, bool) and not -MOST_NUMBER <= rule <= MOST_NUMBER:
            raise BadDefinition(f"{self.name}: a number is too large")
        if isinstance(rule, list):
            for part in rule:
                self._check(part, depth + 1)
        elif isinstance(rule, dict):
            self._check_operation(rule, depth)

    def _check_operation(self, rule: dict[str, Any], depth: int) -> None:
        if len(rule) != 1:
            raise BadDefinition(f"{self.name}: a rule has exactly one operator")
        ((operator, operands),) = rule.items()
        if operator == "$ref":
            if not isinstance(operands, str) or operands not in self.evaluators:
                raise BadDefinition(f"{self.name}: there is no evaluator {operands!r}")
            return
        if operator not in KNOWN:
            raise BadDefinition(f"{self.name}: unknown operator {operator!r}")
        if operator == "fractional":
            self._check_fractions(operands)
        self._check(operands, depth + 1)

    def _check_fractions(self, operands: Any) -> None:
        """Accept `[[variant, weight], …]`, with what to divide by before it where that is not the targeting key."""
        if not isinstance(operands, list) or not operands:
            raise BadDefinition(f"{self.name}: fractional needs a list of variants and weights")
        total = sum(self._weight(entry) for entry in fractions(operands))
        if not 0 < total <= MOST_WEIGHT:
            raise BadDefinition(f"{self.name}: the weights must add up to 1 at least and {MOST_WEIGHT} at most")

    def _weight(self, entry: Any) -> int:
        """Return the weight of one entry."""
        if not isinstance(entry, list) or len(entry) not in {1, 2} or not isinstance(entry[0], str):
            raise BadDefinition(f"{self.name}: fractional needs [variant, weight] pairs")
        weight = entry[1] if len(entry) == 2 else 1
        if isinstance(weight, bool) or not isinstance(weight, int) or weight < 0:
            raise BadDefinition(f"{self.name}: the weight of {entry[0]!r} must be a whole number from 0 on")
        if self.variants is not None and entry[0] not in self.variants:
            raise BadDefinition(f"{self.name}: fractional names {entry[0]!r}, which is no variant")
        return weight


def fractions(operands: list[Any]) -> list[Any]:
    """Return the entries of `fractional`, without what it divides by where that is given."""
    return operands if operands and isinstance(operands[0], list) else operands[1:]


def check_order(name: str, targeting: Mapping[str, Any], variants: Mapping[str, bool]) -> None:
    """Want what is on before what is off in a percentage; raises BadDefinition.

    A targeting key's hash lies at a fixed point between 0 and 1, and the variants share that line in their order. With
    `on` first its part is [0, share), so a larger share keeps everybody who was in the smaller one.
    """
    values = [variants[entry[0]] for entry in fractions(targeting.get("fractional", []))]
    if values != sorted(values, reverse=True):
        raise BadDefinition(f"{name}: list the variants that are true first, so that raising the weight removes nobody")
