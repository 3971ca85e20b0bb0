"""Responses of whole runs: sections encoded once for all who want the same, each representation compressed once. I/O.

What takes long goes through the limiter of such work, after there is room for what it makes.
"""

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

import orjson
from fastapi.responses import Response

from bff_aggregator.backend.part import Part, State, failed_part, skipped_part
from bff_aggregator.backend.run_calls import describe
from bff_aggregator.cache.single_flight import SingleFlight, joined
from bff_aggregator.http import cache_headers, content_coding, response_budget
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.http.response_budget import PartsResponse
from bff_aggregator.http.steps import Steps, finish
from bff_aggregator.runs.encode import Body, Shape, encode_sections, estimated_size, metadata_text
from bff_aggregator.runs.metrics import RunMetrics
from bff_aggregator.runs.revision import RunBundle
from bff_shared.access.credentials import Reader
from bff_shared.errors import Internal
from bff_shared.http.responses import JSON
from bff_shared.lru import ByteLRU

log = logging.getLogger(__name__)
OVERHEAD: Final = 1024


@dataclass(frozen=True, slots=True)
class Encoded:
    """The sections of a response; `failed` are the parts that could not be encoded, in whose place it says so."""

    body: Body
    failed: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return OVERHEAD + len(self.body.text)

    def with_failures(self, bundle: RunBundle) -> RunBundle:
        """Return the run as this says it is."""
        return with_parts(bundle, self.failed) if self.failed else bundle


@dataclass(frozen=True, slots=True)
class Representation:
    """A response's body in a coding, with its metadata, which say how it came about when it was made (`made`).

    `bundle` is the run as it says it is; `tag` is None where another one will do soon.
    """

    pieces: tuple[bytes, ...]
    coding: str
    tag: str | None
    bundle: RunBundle
    made: float

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.pieces))

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return OVERHEAD + self.length


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the request's headers say of the answer's body: codings, and entity tags that the client has."""

    accept_encoding: str | None
    if_none_match: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request wants of which run, and when it came (monotonic seconds); `key` is that of the sections."""

    bundle: RunBundle
    shape: Shape
    coding: str
    begun: float
    key: Hashable

    @property
    def representation_key(self) -> Hashable:
        """Return what is equal for requests that the same body answers: its metadata say how often it asked whom."""
        bundle, sources = self.bundle, tuple(part.source for part in self.bundle.parts.values())
        origin = (bundle.calls, bundle.snapshot.source, repr(bundle.snapshot.error), sources)
        return (self.key, self.coding, origin)


class RunResponses:
    """Makes responses, and keeps what finished runs are made of, at most `limit` bytes; `aclose` ends what is made.

    It caches sections, which every response about the same parts shares, and compressed representations.
    """

    def __init__(
        self, limit: int, metrics: RunMetrics, cpu: CpuLimiter, clock: Callable[[], float] = time.time
    ) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._metrics, self._cpu, self._clock = metrics, cpu, clock
        self._cache: ByteLRU[Hashable, Encoded | Representation] = ByteLRU(limit)
        self._sections_under_way: SingleFlight[Encoded] = SingleFlight(clock)
        self._bodies_under_way: SingleFlight[Representation] = SingleFlight(clock)

    async def aclose(self) -> None:
        """End what is under way."""
        await self._bodies_under_way.aclose()
        await self._sections_under_way.aclose()

    async def answer(
        self, user: Reader, bundle: RunBundle, shape: Shape, preferences: Preferences, begun: float
    ) -> Response:
        """Return the answer to a request that came at `begun` (monotonic seconds): 200, or 304 if it is known.

        Raises ClientBusy or Busy where too much is being made or sent already.
        """
        loaded = time.monotonic()
        coding = content_coding.choose(preferences.accept_encoding, content_coding.UNKNOWN_SIZE)
        wanted = _Wanted(bundle, shape, coding, begun, sections_key(user, bundle, shape))
        found = self._cache.get(wanted.representation_key)
        cached = found if isinstance(found, Representation) else None
        if cached is not None:
            self._metrics.bodies.labels("kept").inc()
        representation = cached or await self._represent(wanted)
        headers = response_headers(representation, loaded - begun, time.monotonic() - loaded)
        if cached is not None:
            headers["age"] = str(max(0, int(self._clock() - cached.made)))
        if representation.tag and preferences.if_none_match:
            known = content_coding.matching_tag(preferences.if_none_match, representation.tag)
            if known is not None:
                return Response(None, 304, {**headers, "etag": known})
        if representation.coding != content_coding.IDENTITY:
            headers["content-encoding"] = representation.coding
        return PartsResponse(representation.pieces, 200, headers, JSON)

    async def plain(
        self, user: Reader, bundle: RunBundle, shape: Shape, accept_encoding: str | None, begun: float
    ) -> tuple[Sequence[bytes], str | None]:
        """Return the pieces of an answer in no coding, and the entity tag that it would have in the client's.

        Raises as `answer` does.
        """
        key = sections_key(user, bundle, shape)
        wanted = _Wanted(bundle, shape, content_coding.IDENTITY, begun, key)
        representation = await self._represent(wanted)
        if representation.tag is None:
            return representation.pieces, None
        coding = content_coding.choose(accept_encoding, len(representation.pieces[0]))
        content, edition, _ = representation.tag.strip('"').split("-")
        return representation.pieces, content_coding.entity_tag(content, edition, coding)

    async def _represent(self, wanted: _Wanted) -> Representation:
        """Make a representation, together with all who want the same, within the room for it."""
        reservation = response_budget.reserve(estimated_size(wanted.bundle, wanted.shape))
        if wanted.coding == content_coding.IDENTITY:  # It is the sections, with its own metadata after them.
            made = await self._make(wanted)
        else:
            made, first = await joined(self._bodies_under_way, wanted.representation_key, lambda: self._make(wanted))
            if not first:
                self._metrics.bodies.labels("coalesced").inc()
        reservation.settle(made.length)
        return made

    async def _make(self, wanted: _Wanted) -> Representation:
        encoded = await self._encoded(wanted)
        bundle, body = encoded.with_failures(wanted.bundle), encoded.body
        now = self._clock()
        metadata = metadata_text(body, bundle, now, (time.monotonic() - wanted.begun) * 1000)
        coding = wanted.coding if len(body.text) >= content_coding.MIN_BYTES else content_coding.IDENTITY
        pieces: tuple[bytes, ...] = (body.text, metadata)
        if coding != content_coding.IDENTITY:
            steps = content_coding.compress_steps(pieces, coding, quick=True)
            pieces = (await self._cpu.steps(len(body.text), steps),)
        made = Representation(pieces, coding, entity_tag(bundle, body, metadata, coding), bundle, now)
        if coding != content_coding.IDENTITY and bundle.settled and bundle.cache_hit:
            self._cache.put(wanted.representation_key, made, made.size)
        return made

    async def _encoded(self, wanted: _Wanted) -> Encoded:
        """Return the sections encoded; those that cannot change any more are cached."""
        known = self._cache.get(wanted.key)
        if isinstance(known, Encoded):
            self._metrics.bodies.labels("kept").inc()
            return known
        size = estimated_size(wanted.bundle, wanted.shape)
        encoded, first = await joined(
            self._sections_under_way, wanted.key, lambda: self._cpu.steps(size, encode(wanted.bundle, wanted.shape))
        )
        self._metrics.bodies.labels("encoded" if first else "coalesced").inc()
        if encoded.with_failures(wanted.bundle).settled:
            self._cache.put(wanted.key, encoded, encoded.size)
        return encoded


def sections_key(user: Reader, bundle: RunBundle, shape: Shape) -> Hashable:
    """Return what is equal for requests that the same sections answer."""
    states = tuple((part.state, part.at) for part in bundle.parts.values())
    return (user.principal, orjson.dumps(bundle.snapshot.run), states, shape)


def encode(bundle: RunBundle, shape: Shape) -> Steps[Encoded]:
    """Return, in steps, the sections of an answer; a part that cannot be encoded leaves the others as they are."""
    failed: tuple[Part, ...] = ()
    try:
        body = yield from encode_sections(bundle, shape)
    except Exception:
        failed = tuple(
            part for part in bundle.parts.values() if part.usable and not _can_be_encoded(bundle, part, shape)
        )
        if not failed:  # It is none of the parts.
            raise
        log.exception("parts of a run could not be encoded", extra={"parts": [part.name for part in failed]})
        error = describe(Internal("the service failed to show this part"))
        failed = tuple(failed_part(part.name, State.FAILED, error, part.began, part.at) for part in failed)
        body = yield from encode_sections(with_parts(bundle, failed), shape)
    return Encoded(body, failed)


def with_parts(bundle: RunBundle, parts: Sequence[Part]) -> RunBundle:
    """Return a run with some of its parts replaced."""
    return replace(bundle, parts={**bundle.parts, **{part.name: part for part in parts}})


def _can_be_encoded(bundle: RunBundle, part: Part, shape: Shape) -> bool:
    """Tell whether a part can be encoded on its own."""
    alone = {name: skipped_part(name) for name in bundle.parts} | {part.name: part}
    try:
        finish(encode_sections(replace(bundle, parts=alone), shape))
    except Exception as error:
        log.debug("a part cannot be encoded", exc_info=error)
        return False
    return True


def entity_tag(bundle: RunBundle, body: Body, metadata: bytes, coding: str) -> str | None:
    """Return the tag of an answer in a coding; one that will be another soon has none."""
    if not bundle.settled:
        return None
    return content_coding.entity_tag(body.digest, blake2b(metadata, digest_size=6).hexdigest(), coding)


def response_headers(representation: Representation, load_s: float, encode_s: float) -> dict[str, str]:
    """Return the headers of a response but those of its body's coding."""
    headers = {
        "cache-control": "private, no-cache" if not representation.bundle.failed_sources else "no-store",
        "vary": "Authorization, Cookie, Accept-Encoding",
        "cache-status": cache_status(representation.bundle),
        "server-timing": f"load;dur={load_s * 1e3:.1f}, encode;dur={encode_s * 1e3:.1f}",
    }
    return headers if representation.tag is None else {**headers, "etag": representation.tag}


def cache_status(bundle: RunBundle) -> str:
    """Return the value of `Cache-Status` (RFC 9211)."""
    reused = any(part.source == "cache" for part in bundle.parts.values())
    return cache_headers.cache_status(cache_headers.outcome(failed=bundle.stale, hit=bundle.cache_hit, reused=reused))
