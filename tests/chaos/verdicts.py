"""What a client may see while something is broken, and what it may never see. Pure.

| place | charts, runs | proxied and legacy requests | streams |
|---|---|---|---|
| `backend` | right, or marked as partial, or 502, 503, 504 | right, 502, 503, 504, or visibly cut | never closed |
| `redis` | right | right | never closed |
| `services` | right, 502, 503, 504, or visibly cut | the same | closed and resumed |
| `browser` | right, or visibly cut | the same | closed and resumed |
| `rolled` | right | right | told to come back (1012), and resumed |

Never, anywhere: a wrong value, an answer past its deadline, an error of another shape, a lost frame, a POST sent twice.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.strength import STRENGTH

UNAVAILABLE = {502, 503, 504}
CODES = {"BACKEND_UNAVAILABLE", "BACKEND_TIMEOUT", "BACKEND_CIRCUIT_OPEN", "BUSY"}
PARTS = ("metrics", "equity", "orders")
WHOLE_CURVE = "whole curve"
"""Where the truth about a run keeps every point of its equity."""

LEAKS = (b"Traceback", b"127.0.0.1", b'File "')
NGINX_S = 10.0
GIVEN_UP = {"TimeoutError", "ReadTimeout", "ConnectTimeout", "WriteTimeout", "PoolTimeout"}
"""How a request ends whose client has lost patience."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request.

    Attributes:
        name: how it is called in figures.
        deadline: seconds by which it is answered, whatever is broken behind the origin.
        stream: whether its answer is handed on while it comes, so that a fault can cut it visibly.
        patience: seconds after which its client gives up.
    """

    name: str
    deadline: float
    stream: bool = False
    patience: float = STRENGTH.patience_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request went: a whole answer, or `error`, the name of what ended it."""

    kind: Kind
    path: str
    seconds: float
    status: int = 0
    body: bytes = b""
    error: str = ""

    @property
    def what(self) -> str:
        """Return the status or the error, for counting."""
        return self.error or str(self.status)


def lateness(outcome: Outcome, place: str, slack: float) -> str | None:
    """Return by what an outcome is late, or None: `slack` is what the machine may add to a deadline, in seconds."""
    # In front of a service only nginx can tell that it is silent, and it does not know the service's own deadline.
    deadline = NGINX_S if place == "services" else outcome.kind.deadline
    if place != "browser" and outcome.seconds > deadline + slack:
        return f"{outcome.kind.name} took {outcome.seconds:.1f} s ({outcome.what})"
    if outcome.error in GIVEN_UP and not _may_be_cut(outcome, place):
        return f"{outcome.kind.name} was given up after {outcome.seconds:.1f} s"
    return None


def _may_be_cut(outcome: Outcome, place: str) -> bool:
    return place in ("browser", "services") or (place == "backend" and outcome.kind.stream)


def violation(outcome: Outcome, place: str, expected: Any) -> str | None:
    """Return what is wrong with an outcome, or None: `expected` is the status and JSON of the fault-free answer."""
    if outcome.error:
        visible = outcome.error in GIVEN_UP or _may_be_cut(outcome, place)
        return None if visible else f"{outcome.kind.name} ended with {outcome.error}"
    status, value = expected
    if outcome.status == status:
        wrong = _wrong(outcome, value)
        return wrong and f"{outcome.kind.name} {outcome.path}: {wrong}"
    if place in ("redis", "rolled", "none") or outcome.status not in UNAVAILABLE:
        return f"{outcome.kind.name} {outcome.path}: {outcome.status} {outcome.body[:300]!r}"
    return _ill_formed(outcome)


def _wrong(outcome: Outcome, value: Any) -> str | None:
    found = json.loads(outcome.body)
    if outcome.kind.name == "chart":
        return None if found["bars"] == value["bars"] else "wrong bars"
    if outcome.kind.name != "run":
        return None if found == value else "wrong bytes"
    if found["run"] != value["run"]:
        return f"a wrong run: {found['run']}"
    wrong = [part for part in PARTS if not _part_is_right(found, value, part)]
    return f"wrong parts {wrong}: {found['metadata']}" if wrong else None


def _part_is_right(found: Mapping[str, Any], value: Mapping[str, Any], part: str) -> bool:
    """A part is the true one, or absent and marked. What an absent one would have added to another may be missing."""
    metadata = found["metadata"]
    if found[part] is None:
        marked = metadata["partial_data"] and part in metadata["failed_sources"]
        return bool(marked and metadata["parts"][part]["state"] in ("failed", "timeout"))
    if part == "metrics" and metadata["partial_data"]:
        return all(number in (None, value[part][name]) for name, number in found[part].items())
    if part == "equity" and found["orders"] is None:
        # Thinned out without knowing the minutes of orders; every point is still one of the curve's.
        return found[part][0] == value[part][0] and all(point in value[WHOLE_CURVE] for point in found[part])
    return bool(found[part] == value[part])


def _ill_formed(outcome: Outcome) -> str | None:
    try:
        error = json.loads(outcome.body)["error"]
        good = error["code"] in CODES and error["message"] and error["details"]["correlation_id"]
    except (ValueError, KeyError, TypeError):
        good = False
    if not good or any(leak in outcome.body for leak in LEAKS):
        return f"{outcome.kind.name}: an error of another shape: {outcome.status} {outcome.body[:300]!r}"
    return None
