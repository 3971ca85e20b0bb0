"""Parts of a run from its event stream, for a backend without routes for them: read once for all of them. I/O.

The stream is the only place where such a backend has the parts. It is read to its end, which it says itself, in a call
that all who want a part of the run meanwhile share.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from bff_aggregator.backend import equity_stream, frames_reader
from bff_aggregator.backend.background_turns import BackgroundTurns
from bff_aggregator.backend.equity_curve import Curve
from bff_aggregator.backend.frames_reader import EventScanner, Frames
from bff_aggregator.backend.schema import Json
from bff_aggregator.cache.single_flight import SingleFlight, joined
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_shared.errors import ArtifactMissing, BackendMalformed, BackendUnavailable
from bff_shared.http.headers import Header
from bff_shared.upstream.call import Kind
from bff_shared.upstream.client import Call, Upstream, credentials_and_ids
from bff_shared.upstream.concurrency_limit import ConcurrencyLimit

READ_SECONDS: Final = 60.0
"""A year of minutes takes the deployed backend some ten seconds."""
READ_AHEAD: Final = 2
"""Runs that are read at once for a list, which shows what there is and gets the rest later."""
MAX_BYTES: Final = 256 * 1024 * 1024
OrderFacts = Callable[[list[Json]], Json]
Complete = Callable[[Json, Curve, Json], Json]
"""Returns the performance metrics that some lack and that the curve and facts of orders determine."""


@dataclass(frozen=True, slots=True)
class FrameParts:
    """The fields of each Part, by its name."""

    fields: dict[str, Json]


class RunFrames:
    """Reads event streams of runs, of which `limit` bounds how many at once. `aclose` ends what is under way."""

    def __init__(
        self,
        upstream: Upstream,
        cpu: CpuLimiter,
        order_facts: OrderFacts,
        complete: Complete,
        limit: ConcurrencyLimit,
    ) -> None:
        self._upstream, self._cpu, self._limit = upstream, cpu, limit
        self._order_facts, self._complete = order_facts, complete
        self._flights: SingleFlight[FrameParts] = SingleFlight(time.time)
        self._background = BackgroundTurns(READ_AHEAD, READ_SECONDS)

    async def aclose(self) -> None:
        """End what is being read."""
        await self._flights.aclose()

    async def part(
        self, credentials: Sequence[Header], principal: str, target: bytes, name: str, *, ahead: bool = False
    ) -> Json:
        """Return the fields of one part of the run whose path is `target`; `ahead` of whoever will want to see it.

        Raises ArtifactMissing where the backend says that it has none, an UpstreamError or Busy.
        """
        key = (principal, target)
        if not ahead:
            self._background.hurry(key)

        async def read() -> FrameParts:
            if not ahead:
                return await self._read(credentials, target)
            async with self._background.turn(key):
                return await self._read(credentials, target)

        parts, _ = await joined(self._flights, key, read)
        return parts.fields[name]

    async def _read(self, credentials: Sequence[Header], target: bytes) -> FrameParts:
        await self._limit.acquire()
        try:
            pieces = await self._pieces(credentials, target)
        finally:
            self._limit.release()
        points = sum(len(piece.values) for piece in pieces)
        return FrameParts(await self._cpu.run(100 * points, self._fields, pieces))

    async def _pieces(self, credentials: Sequence[Header], target: bytes) -> list[Frames]:
        headers = [pair for pair in credentials_and_ids(credentials) if pair[0] != b"accept"]
        call = Call("GET", target + b"/stream", [*headers, (b"accept", b"text/event-stream")], kind=Kind.STREAM)
        call.deadline, call.attempts, call.circuit = time.monotonic() + READ_SECONDS, 1, "frames"
        pieces, scanner = list[Frames](), EventScanner()
        async with self._upstream.reading(call, MAX_BYTES) as response:
            if response.status != httpx.codes.OK:
                raise _absent_or_failed(response.status)
            async for data in response:
                if piece := scanner.feed(data):
                    pieces.append(await self._cpu.run(len(piece), frames_reader.read_events, piece))
                    _require_sound(pieces[-1])
                    if pieces[-1].ended:
                        return pieces
        rest = scanner.end()
        pieces.append(await self._cpu.run(len(rest), frames_reader.read_events, rest))
        _require_sound(pieces[-1])
        if not pieces[-1].ended:
            raise BackendMalformed("the run's frames broke off before their end")
        return pieces

    def _fields(self, pieces: Sequence[Frames]) -> dict[str, Json]:
        curve, orders, metrics = frames_reader.parts_of(pieces)
        facts = self._order_facts(orders)
        return {
            "metrics": {"data": {**metrics, **self._complete(metrics, curve, facts)}},
            "equity": equity_stream.fields(curve, {}),
            "orders": {"data": orders, "count": len(orders), "facts": facts},
        }


def _absent_or_failed(status: int) -> BackendUnavailable | ArtifactMissing:
    if status in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
        return ArtifactMissing("the run has no frames")
    return BackendUnavailable(f"the backend answered {status} to the run's frames", {"backend_status": status})


def _require_sound(piece: Frames) -> None:
    """Raise what an error event amounts to: a run without artifacts has no parts, whatever else is a failure."""
    if piece.error is None:
        return
    if any(word in piece.error.lower() for word in ("not found", "missing", "no such")):
        raise ArtifactMissing("the backend has no frames of this run")
    raise BackendUnavailable("the backend cannot stream this run's frames")
