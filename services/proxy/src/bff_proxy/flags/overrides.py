"""What lies over a flag's definition: a change made at runtime, or by the automatic rollback. Pure.

There is one change per flag at most, and the last one counts. A rollback is a change like any other, so it holds until
somebody makes another, or gives the flag back to the file. That it was given back is remembered too: versions say, for
each flag, which of two replicas knows more.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from typing import Any, Literal

from bff_proxy.flags.definitions import Definition

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
    id       of this change alone, so that whoever made it can recognise it; empty where an older version made it
    version  the store's revision with which it came; 0 before it is stored
    """

    key: str
    value: bool | None
    rollout: int | None
    reason: str
    by: str
    at: float
    source: Literal["runtime", "rollback"] = "runtime"
    id: str = ""
    version: int = 0


class StoreUnavailable(Exception):
    """Redis did not answer, not in time, or nothing that can be used."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is stored of one flag: its change, or None where it was given back to the file, and by which change."""

    version: int
    change: Change | None
    id: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of all flags, and the highest version of all."""

    revision: int
    entries: Mapping[str, Entry]

    @property
    def changes(self) -> dict[str, Change]:
        """The changes that hold."""
        return {key: entry.change for key, entry in self.entries.items() if entry.change is not None}

    def version(self, key: str) -> int:
        """Return the version of what is stored of a flag, 0 for nothing."""
        entry = self.entries.get(key)
        return 0 if entry is None else entry.version

    def newer_than(self, other: "Stored") -> dict[str, Entry]:
        """Return what is known better here than there."""
        return {key: entry for key, entry in self.entries.items() if entry.version > other.version(key)}

    def joined(self, other: "Stored") -> "Stored":
        """Return the newest of both for each flag, of equal versions this one's."""
        return Stored(max(self.revision, other.revision), {**self.entries, **other.newer_than(self)})


_REMOVED = "-"
"""What begins the entry of a flag that was given back to the file; an older version takes it for no change either."""

_YEAR_10000 = 253_402_300_800
_STORED = tuple(field.name for field in fields_of(Change) if field.name != "version")


def pack(entry: Entry) -> bytes:
    """Return an entry as it is stored, without its version, which the store adds."""
    if entry.change is None:
        return f"{_REMOVED}{entry.id}".encode()
    fields = asdict(entry.change)
    del fields["version"]
    return json.dumps(fields, separators=(",", ":")).encode()


def unpack_entry(key: str, version: int, data: bytes) -> Entry | None:
    """Return a stored entry, None for what is none of this flag."""
    if data.startswith(_REMOVED.encode()):
        return Entry(version, None, data[len(_REMOVED) :].decode("latin-1"))
    change = unpack(key, version, data)
    return None if change is None else Entry(version, change, change.id)


def unpack(key: str, version: int, data: bytes) -> Change | None:
    """Return a stored change, None for what is not one of this flag.

    A field that is not known is passed over: what a newer version of the proxy has turned off is off here too.
    """
    try:
        stored = json.loads(data)
        fields = {name: stored[name] for name in _STORED if name in stored}
        change = Change(**fields, version=version)
    except (ValueError, TypeError, RecursionError):
        return None
    return change if change.key == key and _is_sound(fields) else None


def _is_sound(fields: Mapping[str, Any]) -> bool:
    words = all(_is_text(fields.get(name, "")) for name in ("reason", "by", "id"))
    settles = isinstance(fields["value"], bool) != _is_percentage(fields["rollout"])
    at = fields["at"]
    return words and settles and _is_time(at) and fields.get("source") in {"runtime", "rollback"}


def _is_text(value: Any) -> bool:
    """Tell whether a value can be shown; JSON may hold halves of characters, which can be written nowhere."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_time(value: Any) -> bool:
    """Tell whether a value is Unix seconds of a year that has four digits."""
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < _YEAR_10000


def _is_percentage(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100


def layered(definition: Definition, change: Change | None) -> Definition:
    """Return a flag as its change makes it; without one, as it is defined.

    A percentage is divided by the flag's key and the targeting key, as flagd's `fractional` does, `on` first.
    Who has no targeting key is off until it is 100.
    """
    if change is None:
        return definition
    names = {True: _variant(definition, True, ON), False: _variant(definition, False, OFF)}
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


def _variant(definition: Definition, value: bool, name: str) -> str:
    """Return a variant with a value; where none is defined, a name for it that no variant has."""
    known = definition.variant_of(value)
    while known is None and name in definition.variants:
        name += "_"
    return name if known is None else known


def merged(definitions: Mapping[str, Definition], changes: Mapping[str, Change]) -> dict[str, Definition]:
    """Return every defined flag with its change; changes of flags that the file no longer has are left out."""
    return {key: layered(definition, changes.get(key)) for key, definition in definitions.items()}
