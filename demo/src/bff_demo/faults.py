"""Fault rules: which requests go wrong, and how. Pure.

The first rule that matches a request is the one that applies to it. Whatever looks random comes from a generator
seeded per rule, so the n-th request that a rule meets always fares the same.
"""

import random
import re
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ActiveRule", "Rule", "RuleSet", "choose"]


class Rule(BaseModel):
    """One rule; what is left out does not happen.

    Which requests: `path_prefix` (starts with) or `path_pattern` (regular expression, found anywhere), `methods`; of
    those, `skip` lets the first ones pass and `times` ends the rule after so many.

    Any request: `latency_ms` before anything else; `refuse` drops the connection without an answer; `error_status`
    answers an error instead, to the share `error_rate` of requests (0.3) or to all.

    Answers: `headers` are added; `wrong_json` answers 200 with JSON of another shape (`true` or `"shape"`) or with text
    that is not JSON (`"syntax"`); `idle_stream` answers with an event stream of one comment, open and silent
    until the client leaves; `drip_bytes_per_s` sends the body slowly; `cut_after_bytes` drops the connection when so
    much of the body was sent.

    WebSockets: when `ws_kill_after_frames` frames were sent, the connection is dropped, or closed with `ws_kill_code`;
    `ws_kill_times` limits how often. After `ws_stall_after_frames` frames nothing more is sent until the rules change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path_prefix: str = ""
    path_pattern: str | None = None
    methods: list[str] | None = None
    skip: int = Field(0, ge=0)
    times: int | None = Field(None, ge=0)
    latency_ms: float = Field(0, ge=0, le=600_000)
    refuse: bool = False
    error_rate: float | None = Field(None, ge=0, le=1)
    error_status: int | None = Field(None, ge=400, le=599)
    headers: dict[str, str] = {}
    wrong_json: bool | Literal["shape", "syntax"] = False
    idle_stream: bool = False
    drip_bytes_per_s: float | None = Field(None, gt=0)
    cut_after_bytes: int | None = Field(None, ge=0)
    ws_kill_after_frames: int | None = Field(None, ge=0)
    ws_kill_times: int | None = Field(None, ge=0)
    ws_kill_code: int | None = Field(None, ge=1000, le=4999)
    ws_stall_after_frames: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        try:
            re.compile(self.path_pattern or "")
        except re.error as exc:
            raise ValueError(f"path_pattern: {exc}") from exc
        return self

    @property
    def status(self) -> int:
        """The status of an injected error, 503 unless told otherwise."""
        return self.error_status or 503


class RuleSet(BaseModel):
    """Rules in the order in which they are tried."""

    model_config = ConfigDict(extra="forbid")

    rules: list[Rule] = Field(max_length=100)


@dataclass(slots=True)
class ActiveRule:
    """A rule and what it has met so far: requests `matched`, requests `applied` to, WebSockets `killed`."""

    rule: Rule
    seed: int
    matched: int = 0
    applied: int = 0
    killed: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the generator of this rule."""
        self._random = random.Random(self.seed)  # noqa: S311  repeatable on purpose

    def matches(self, method: str, path: str) -> bool:
        """Tell whether the rule means this request; counts nothing."""
        rule = self.rule
        if rule.times is not None and self.applied >= rule.times:
            return False
        if rule.methods is not None and method not in rule.methods:
            return False
        return path.startswith(rule.path_prefix) and (
            rule.path_pattern is None or re.search(rule.path_pattern, path) is not None
        )

    def take(self) -> bool:
        """Count a matching request, and tell whether the rule applies to it."""
        self.matched += 1
        if self.matched <= self.rule.skip:
            return False
        self.applied += 1
        return True

    def fails(self) -> bool:
        """Tell whether this request is answered with an error."""
        rate = self.rule.error_rate
        if rate is None:
            return self.rule.error_status is not None
        return self._random.random() < rate

    def kills(self, frames: int) -> bool:
        """Tell whether a WebSocket that has got `frames` frames dies before the next one; counts the kill."""
        limit = self.rule.ws_kill_after_frames
        if limit is None or frames < limit:
            return False
        if self.rule.ws_kill_times is not None and self.killed >= self.rule.ws_kill_times:
            return False
        self.killed += 1
        return True

    def stalls(self, frames: int) -> bool:
        """Tell whether a WebSocket that has got `frames` frames gets nothing more."""
        return self.rule.ws_stall_after_frames is not None and frames >= self.rule.ws_stall_after_frames

    def report(self) -> dict[str, Any]:
        """Return the rule as it was given, with its counters."""
        counters = {"matched": self.matched, "applied": self.applied, "killed": self.killed}
        return self.rule.model_dump(exclude_defaults=True) | counters


def choose(rules: list[ActiveRule], method: str, path: str) -> ActiveRule | None:
    """Return the rule that applies to a request, if any, and count the request."""
    found = next((active for active in rules if active.matches(method, path)), None)
    return found if found is not None and found.take() else None
