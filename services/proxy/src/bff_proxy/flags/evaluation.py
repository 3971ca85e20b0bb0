"""The flags as they are at one moment, and what they evaluate to. Pure: the evaluation is flagd's own library.

A new set is made whenever the file or a change does; a request that holds one sees no half of another.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from bff_proxy.flags.definitions import Definition, Definitions, built_in
from bff_proxy.flags.overrides import Change, Source, merged
from bff_proxy.flags.rules import BadDefinition

TARGETING_KEY = "targetingKey"
FAILED = "ERROR"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a flag is for one context.

    value    None where the flag is disabled or its rules fail: the client's own default holds
    variant  empty then
    reason   OpenFeature's: STATIC, DEFAULT, TARGETING_MATCH, SPLIT, DISABLED or ERROR
    """

    key: str
    value: bool | None
    variant: str
    reason: str


class FlagSet:
    """All flags with their changes. `revision` is the same in all processes that have the same flags."""

    def __init__(self, definitions: Definitions, changes: Mapping[str, Change]) -> None:
        """Make the set; raises BadDefinition for rules that cannot be evaluated."""
        self.definitions = definitions
        self.changes = {key: change for key, change in changes.items() if key in definitions.flags}
        self.flags: Mapping[str, Definition] = merged(definitions.flags, self.changes)
        document = {"flags": {key: flag.document() for key, flag in self.flags.items()}}
        text = json.dumps(document, sort_keys=True)
        self._prints = {key: f"{flag!r}{self.changes.get(key)!r}" for key, flag in self.flags.items()}
        about = text + "".join(self._prints[key] for key in sorted(self._prints))
        self.revision = hashlib.sha256(about.encode()).hexdigest()[:16]
        self._core = FlagdCore()
        try:
            self._core.set_flags(text)
        except OpenFeatureError as error:
            raise BadDefinition(str(error) or "the definitions cannot be evaluated") from error
        for key in self.flags:
            self._try_out(key)

    def evaluate(self, key: str, context: Mapping[str, Any]) -> Evaluated:
        """Return what a flag is for a context (OpenFeature's: `targetingKey` and attributes); raises KeyError."""
        flag = self.flags[key]
        try:
            found = self._resolve(key, context)
        except Exception:  # noqa: BLE001  whatever rules of somebody's making do, one flag fails, not the answer
            return Evaluated(key, None, "", FAILED)
        reason = str(found.reason)
        if reason == "DISABLED":
            return Evaluated(key, None, "", reason)
        if reason == "TARGETING_MATCH" and "fractional" in flag.targeting:
            reason = "SPLIT"
        return Evaluated(key, found.value, found.variant or "", reason)

    def source(self, key: str) -> Source:
        """Return where a flag's state comes from."""
        change = self.changes.get(key)
        return "file" if change is None else change.source

    def version(self, key: str) -> int:
        """Return the version of a flag's change, 0 without one."""
        change = self.changes.get(key)
        return 0 if change is None else change.version

    def fingerprint(self, key: str) -> str:
        """Return a text that is another whenever a flag's state, or the reason for it, is."""
        return self._prints[key]

    def differences(self, before: "FlagSet") -> list[str]:
        """Return the keys whose state, or the reason for it, is another than before."""
        keys = self._prints.keys() | before._prints.keys()
        return sorted(key for key in keys if self._prints.get(key) != before._prints.get(key))

    def _resolve(self, key: str, context: Mapping[str, Any]) -> Any:
        attributes = dict(context)
        who = attributes.pop(TARGETING_KEY, None)
        return self._core.resolve_boolean_value(key, False, EvaluationContext(who or None, attributes))

    def _try_out(self, key: str) -> None:
        """Refuse rules that fail for a plain context: they would for everybody."""
        for context in ({}, {TARGETING_KEY: "a"}):
            try:
                self._resolve(key, context)
            except Exception as error:
                raise BadDefinition(f"flag {key!r}: {error}") from error


def nothing_defined() -> FlagSet:
    """Return the flags of a process that has read no file."""
    return FlagSet(built_in(), {})


def quiet_library() -> None:
    """Keep the library from logging every evaluation without a targeting key, which is no error here."""
    logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL)
