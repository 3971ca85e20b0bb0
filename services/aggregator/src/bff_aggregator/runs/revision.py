"""What the parts of a run are, how each fared, and which of them belong together. Pure; times are given.

A run's *revision* is a digest of what identifies its state. A part belongs to a revision if the run was seen in it
before the part was asked for and, as long as it can still change, also after the part had come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from bff_aggregator.backend.part import RUN, Part, State
from bff_aggregator.backend.schema import FINISHED, Json, instant

HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run's detail. `since` is when it was first seen in this revision, `at` when last, `finished_at` an estimate.

    `error` is set when a newer look failed and this one stands in for it.
    """

    run: Json
    revision: str
    since: float
    at: float
    finished_at: float = 0.0
    source: str = "backend"
    error: Json | None = None

    @property
    def finished(self) -> bool:
        """Whether the run is over, so that its parts do not change any more."""
        return self.run["status"] in FINISHED

    def is_recent(self, now: float) -> bool:
        """Tell whether the run was over less than an hour ago, or is not over."""
        return not self.finished or now - self.finished_at < HOUR

    def earliest(self) -> float:
        """Return the time from which on a part must have been asked for to belong to this revision.

        A run over for more than an hour has been in its last state all the while, however lately it was seen.
        """
        return self.finished_at + HOUR if self.finished and self.finished_at + HOUR < self.since else self.since


def revision_of(run: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that differ when the run's status or what it produced differs.

    A running run's progress is no new revision: fields outside of the vocabulary do not count.
    """
    names = ("run_id", "status", "created_at", "duration_ms", "code_hash", "artifacts", "manifest")
    text = orjson.dumps([run.get(name) for name in names], option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=8).hexdigest()


def take_snapshot(run: Json, before: RunSnapshot | None, at: float) -> RunSnapshot:
    """Return what a look at the run that ended at `at` has shown, given the one before.

    The time when a run was over is its creation plus its duration, or the last time it was seen unfinished if that is
    later (it may have waited in a queue).
    """
    revision = revision_of(run)
    since = before.since if before is not None and before.revision == revision else at
    if run["status"] not in FINISHED:
        return RunSnapshot(run, revision, since, at)
    created, duration = instant(run.get("created_at")), run.get("duration_ms")
    finished = at if created is None else created + (duration / 1000 if isinstance(duration, (int, float)) else 0.0)
    if before is not None:
        finished = before.finished_at if before.revision == revision else max(finished, before.at)
    return RunSnapshot(run, revision, since, at, min(finished, at))


def snapshot_lifetime(snapshot: RunSnapshot) -> float:
    """Return the seconds for which a snapshot is good: a second while the run can change, else half a minute.

    The half minute bounds how long a revoked token still sees what is cached.
    """
    return 30.0 if snapshot.finished else 1.0


def lifetime(part: Part, snapshot: RunSnapshot, now: float) -> float:
    """Return the seconds for which a part is good: 60 unfinished or missing, 300 in the hour after, then 3600."""
    if not snapshot.finished or part.state is State.MISSING:
        return 60.0
    return 300.0 if snapshot.is_recent(now) else HOUR


@dataclass(frozen=True, slots=True)
class RunBundle:
    """A run with its parts, all of one revision, and how many calls that took."""

    snapshot: RunSnapshot
    parts: Mapping[str, Part]
    calls: int = 0

    @property
    def partial(self) -> bool:
        """Whether a part that was asked for is not there, for whatever reason."""
        return any(part.state in {State.MISSING, State.FAILED, State.TIMEOUT} for part in self.parts.values())

    @property
    def failed_sources(self) -> list[str]:
        """The parts that failed or were too late."""
        return [name for name, part in self.parts.items() if part.state in {State.FAILED, State.TIMEOUT}]

    @property
    def stale(self) -> bool:
        """Whether anything in it stands in for something newer."""
        return self.snapshot.error is not None or any(part.state is State.STALE for part in self.parts.values())

    @property
    def settled(self) -> bool:
        """Whether the answer can only change if the run does: it is over and every part has had its say."""
        return self.snapshot.finished and not self.failed_sources and not self.stale

    @property
    def cache_hit(self) -> bool:
        """Whether the backend had no part in it."""
        return self.calls == 0


def report(bundle: RunBundle, now: float) -> Json:
    """Return `metadata.parts`: for each part its state, age, source and error."""
    return {RUN: _run_report(bundle.snapshot, now)} | {
        name: _part_report(part, now) for name, part in bundle.parts.items()
    }


def _run_report(snapshot: RunSnapshot, now: float) -> Json:
    state = State.OK if snapshot.error is None else State.STALE
    shown: Json = {"state": state, "age_ms": _age(snapshot.at, now), "source": snapshot.source}
    return shown if snapshot.error is None else {**shown, "error": snapshot.error}


def _part_report(part: Part, now: float) -> Json:
    source = "frames" if part.from_frames and part.usable else part.source
    shown: Json = {"state": part.state, "age_ms": _age(part.at, now) if part.at else None, "source": source}
    if part.error is not None:
        shown["error"] = part.error
    if part.extra:
        shown["extra"] = part.extra
    if part.rejected:
        shown["rejected"] = part.rejected
    return shown


def _age(at: float, now: float) -> int:
    return max(0, round((now - at) * 1000))
