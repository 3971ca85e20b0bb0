"""Definitions of feature flags in flagd's JSON format, checked before they count. Pure.

The format is that of https://flagd.dev/reference/flag-definitions/; every flag here is boolean. What cannot be meant is
refused by the flag's name: half a rollout is worse than an old one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bff_proxy.flags.evaluation_cost import CONTEXT, Size, largest_attributes, written_out
from bff_proxy.flags.rules import BadDefinition, Rules, check_order, fractions

KEYS = ("bff", "chart_data", "run_data", "websocket")
"""The flags that the frontend asks for: the master switch, and one for each group of calls."""

PIECES = KEYS[1:]
MOST_FLAGS = 100
MOST_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_FIELDS = frozenset(("state", "variants", "defaultVariant", "targeting", "metadata"))
_TOP = frozenset(("$schema", "$evaluators", "flags", "metadata"))


@dataclass(frozen=True, slots=True)
class Definition:
    """One flag: its variants (name to value), the one by default, and the JsonLogic that may choose another."""

    key: str
    variants: Mapping[str, bool]
    default_variant: str
    targeting: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True
    description: str = ""
    reason: str = ""

    @property
    def default(self) -> bool:
        """The value of the default variant."""
        return self.variants[self.default_variant]

    def variant_of(self, value: bool) -> str | None:
        """Return the first variant with a value, None if there is none."""
        return next((name for name, its in self.variants.items() if its is value), None)

    @property
    def share(self) -> float | None:
        """The share of targeting keys for which the flag is on; None where only its rules could tell."""
        if not self.enabled:
            return 0.0
        if not self.targeting:
            return float(self.default)
        weights = self._weights()
        total = sum(weight for _, weight in weights)
        return sum(weight for name, weight in weights if self.variants[name]) / total if total else None

    @property
    def rollout(self) -> float | None:
        """The percentage of targeting keys for which the flag is on; None where no percentage is set."""
        share = self.share
        return round(share * 100, 4) if self.enabled and self.targeting and share is not None else None

    def document(self) -> dict[str, Any]:
        """Return the flag in flagd's format."""
        return {
            "state": "ENABLED" if self.enabled else "DISABLED",
            "variants": dict(self.variants),
            "defaultVariant": self.default_variant,
            **({"targeting": dict(self.targeting)} if self.targeting else {}),
        }

    def _weights(self) -> list[tuple[str, int]]:
        """Return variants and weights of a plain percentage, nothing for other rules."""
        entries = fractions(self.targeting.get("fractional", []))
        return [(str(entry[0]), entry[1] if len(entry) > 1 else 1) for entry in entries]


@dataclass(frozen=True, slots=True)
class Definitions:
    """All flags by key; shared rules (`$evaluators`) are written out where their targeting refers to them.

    `attributes` is how large each attribute of a context may be for the flags to be evaluated in time.
    """

    flags: Mapping[str, Definition]
    attributes: Size = CONTEXT


def built_in() -> Definitions:
    """Return what holds where no file says otherwise: every flag off, hence the legacy path for everything."""
    variants = {"on": True, "off": False}
    return Definitions({key: Definition(key, variants, "off", reason="no definitions are configured") for key in KEYS})


def parse(data: bytes) -> Definitions:
    """Return the definitions in a file's bytes; raises BadDefinition."""
    document = _decoded(data)
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise BadDefinition("expected an object with `flags`")
    if unknown := sorted(document.keys() - _TOP):
        raise BadDefinition(f"unknown field {unknown[0]!r}")
    evaluators = document.get("$evaluators", {})
    if not isinstance(evaluators, dict):
        raise BadDefinition("`$evaluators` must be an object")
    for name, rule in evaluators.items():
        Rules(f"evaluator {name!r}", evaluators.keys(), None).check(rule)
    flags = document["flags"]
    if len(flags) > MOST_FLAGS:
        raise BadDefinition(f"more than {MOST_FLAGS} flags")
    for key in KEYS:
        if key not in flags:
            raise BadDefinition(f"flag {key!r}: missing")
    found = {key: _definition(key, body, evaluators) for key, body in flags.items()}
    return Definitions(found, largest_attributes("flag", {key: flag.targeting for key, flag in found.items()}))


def _decoded(data: bytes) -> Any:
    """Return a JSON document whose texts can be written again; raises BadDefinition."""
    try:
        document = json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()
    except BadDefinition:
        raise
    except UnicodeEncodeError as error:
        raise BadDefinition("a text holds half a character") from error
    except (RecursionError, ValueError) as error:  # the latter also for numbers of more digits than Python takes
        raise BadDefinition(f"not JSON: {error}") from error
    return document


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, and refuse one that says a thing twice: either could be meant."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadDefinition(f"{key!r}: defined twice")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise BadDefinition(f"{name} is not JSON")


def _definition(key: str, body: Any, evaluators: Mapping[str, Any]) -> Definition:
    """Return one flag; raises BadDefinition with its name."""
    name = f"flag {key!r}"
    if not _NAME.fullmatch(key):
        raise BadDefinition(f"{name}: a key has 1 to 64 letters, digits, `_`, `.` and `-`")
    if not isinstance(body, dict):
        raise BadDefinition(f"{name}: expected an object")
    if unknown := sorted(body.keys() - _FIELDS):
        raise BadDefinition(f"{name}: unknown field {unknown[0]!r}")
    if body.get("state") not in ("ENABLED", "DISABLED"):
        raise BadDefinition(f"{name}: state must be ENABLED or DISABLED")
    variants = body.get("variants")
    if not isinstance(variants, dict) or not variants or not all(isinstance(v, bool) for v in variants.values()):
        raise BadDefinition(f"{name}: variants must be names of true and false")
    default = body.get("defaultVariant")
    if not isinstance(default, str) or default not in variants:
        raise BadDefinition(f"{name}: defaultVariant must be one of its variants")
    targeting = body.get("targeting") or {}
    if targeting:
        Rules(name, evaluators.keys(), variants).check(targeting)
        targeting = written_out(name, targeting, evaluators)
        Rules(name, (), variants).check(targeting)
        check_order(name, targeting, variants)
    about = _metadata(name, body.get("metadata", {}))
    return Definition(key, variants, default, targeting, body["state"] == "ENABLED", *about)


def _metadata(name: str, metadata: Any) -> tuple[str, str]:
    """Return a flag's description and the reason for its state."""
    if not isinstance(metadata, dict):
        raise BadDefinition(f"{name}: metadata must be an object")
    for key, value in metadata.items():
        if not isinstance(value, str | bool | int | float):
            raise BadDefinition(f"{name}: metadata {key!r} must be a text, a number or a boolean")
    return str(metadata.get("description", "")), str(metadata.get("reason", ""))
