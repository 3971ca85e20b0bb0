"""What lies over a flag's definition: a change made at runtime, or by the automatic rollback. Pure.

There is one change per flag at most, and the last one counts. A rollback is a change like any other, so it holds until
somebody makes another, or gives the flag back to the file.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from typing import Any, Literal

from bff_proxy.flag_definitions import Definition

Source = Literal["file", "runtime", "rollback"]
ON, OFF = "on", "off"


@dataclass(frozen=True, slots=True)
class Change:
    """One flag's change: a value for all, or a percentage that is on.

    key      the flag's
    value    the value for everybody, or None
    rollout  0 to 100, or None
    reason   a sentence for people
    by       who made it, as they call themselves
    at       when, in Unix seconds
    source   who may have made it
    version  the store's revision with which it came; 0 before it is stored
    """

    key: str
    value: bool | None
    rollout: int | None
    reason: str
    by: str
    at: float
    source: Literal["runtime", "rollback"] = "runtime"
    version: int = 0


class StoreAway(Exception):
    """Redis did not answer, not in time, or nothing that can be used."""


@dataclass(frozen=True, slots=True)
class Stored:
    """All changes, and how many writes there have been."""

    revision: int
    changes: Mapping[str, Change]


_STORED = tuple(field.name for field in fields_of(Change) if field.name != "version")


def pack(change: Change) -> bytes:
    """Return a change as it is stored, without its version, which the store adds."""
    fields = asdict(change)
    del fields["version"]
    return json.dumps(fields, separators=(",", ":")).encode()


def unpack(key: str, version: int, data: bytes) -> Change | None:
    """Return a stored change, None for what is not one of this flag.

    A field that is not known is passed over: what a newer version of the proxy has turned off is off here too.
    """
    try:
        stored = json.loads(data)
        fields = {name: stored[name] for name in _STORED if name in stored}
        change = Change(**fields, version=version)
    except (ValueError, TypeError):
        return None
    return change if change.key == key and _is_sound(fields) else None


def _is_sound(fields: Mapping[str, Any]) -> bool:
    words = all(isinstance(fields[name], str) for name in ("reason", "by"))
    settles = isinstance(fields["value"], bool) != _is_percentage(fields["rollout"])
    at = fields["at"]
    return words and settles and isinstance(at, float | int) and fields.get("source") in {"runtime", "rollback"}


def _is_percentage(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100


def layered(definition: Definition, change: Change | None) -> Definition:
    """Return a flag as its change makes it; without one, as it is defined.

    A percentage is divided by the flag's key and the targeting key, as flagd's `fractional` does, `on` first.
    Who has no targeting key is off until it is 100.
    """
    if change is None:
        return definition
    names = {True: definition.variant_of(True) or ON, False: definition.variant_of(False) or OFF}
    changed = replace(
        definition,
        variants={**definition.variants, names[True]: True, names[False]: False},
        enabled=True,
        reason=change.reason,
    )
    if change.rollout is None:
        return replace(changed, targeting={}, default_variant=names[bool(change.value)])
    fractions = [[names[True], change.rollout], [names[False], 100 - change.rollout]]
    return replace(changed, targeting={"fractional": fractions}, default_variant=names[change.rollout == 100])


def merged(definitions: Mapping[str, Definition], changes: Mapping[str, Change]) -> dict[str, Definition]:
    """Return every defined flag with its change; changes of flags that the file no longer has are left out."""
    return {key: layered(definition, changes.get(key)) for key, definition in definitions.items()}
