"""What the flags' routes take and answer, as pydantic models: for checking bodies, and for the OpenAPI document."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from bff_proxy.flags.evaluation import Evaluated, FlagSet

Sentence = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class FlagChange(BaseModel):
    """A change: a value for everybody, or the percentage of targeting keys that is on; one of the two."""

    model_config = ConfigDict(extra="forbid")

    value: StrictBool | None = Field(None, description="on or off for everybody")
    rollout: Annotated[StrictInt, Field(ge=0, le=100)] | None = Field(None, description="percentage that is on")
    reason: Sentence = Field(description="why, for people")


class FlagState(BaseModel):
    """One flag as it is for one targeting key, and where that comes from."""

    key: str
    value: bool = Field(description="what the frontend should do; false where the flag is disabled")
    variant: str
    reason: str = Field(description="why the flag is as it is, for people")
    evaluation: str = Field(
        description="OpenFeature's reason: STATIC, DEFAULT, TARGETING_MATCH, SPLIT, DISABLED, ERROR"
    )
    source: Literal["file", "runtime", "rollback"]
    description: str
    default: bool = Field(description="the default of the file")
    rollout: float | None = Field(description="percentage of targeting keys that is on, where one is set")
    change_id: str | None = Field(None, description="id of the change in effect, which an unconfirmed change names too")
    changed_at: datetime | None = None
    changed_by: str | None = Field(None, description="who made the change; only for whoever has the admin token")


class FlagList(BaseModel):
    """All flags; `revision` changes whenever one of them, or the reason for it, does."""

    revision: str
    flags: list[FlagState]


class FlagsEvent(BaseModel):
    """The data of an event `flags`."""

    revision: str
    keys: list[str] = Field(description="the flags that changed; all of them in the first event")


def state(flags: FlagSet, found: Evaluated, *, details: bool = False) -> dict[str, Any]:
    """Return one flag as `FlagState` describes it; `details` are for whoever has the admin token."""
    flag, change = flags.flags[found.key], flags.changes.get(found.key)
    body: dict[str, Any] = {
        "key": found.key,
        "value": bool(found.value),
        "variant": found.variant,
        "reason": flag.reason,
        "evaluation": found.reason,
        "source": flags.source(found.key),
        "description": flag.description,
        "default": flags.definitions.flags[found.key].default,
        "rollout": flag.rollout,
    }
    if change is not None:
        at = datetime.fromtimestamp(change.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body |= {"changed_at": at, "change_id": change.id, **({"changed_by": change.by} if details else {})}
    return body


def listing(flags: FlagSet, found: list[Evaluated], *, details: bool = False) -> dict[str, Any]:
    """Return all flags as `FlagList` describes them."""
    return {"revision": flags.revision, "flags": [state(flags, one, details=details) for one in found]}
