"""Encoded answers of whole runs: made beside the event loop, once for all who want the same, and kept. I/O."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

import orjson
from fastapi.responses import Response

from bff_aggregator.backend.part import Part, State, failed_part, skipped_part
from bff_aggregator.backend.run_calls import User, describe
from bff_aggregator.cache.single_flight import SingleFlight
from bff_aggregator.http import content_coding, resumable_compression
from bff_aggregator.http.response_budget import PartsResponse
from bff_aggregator.http.resumable_compression import Opened
from bff_aggregator.runs.encode import Body, Shape, encode_sections, metadata_text
from bff_aggregator.runs.metrics import RunMetrics
from bff_aggregator.runs.revision import RunBundle
from bff_shared.errors import Internal
from bff_shared.http.responses import JSON

log = logging.getLogger(__name__)
UNKNOWN_SIZE: Final = content_coding.MIN_BYTES


@dataclass(frozen=True, slots=True)
class Encoded:
    """The sections of an answer, plain and, where that is worth it, compressed.

    `failed` are the parts that could not be encoded, in whose place it says so.
    """

    body: Body
    packed: Opened | None
    failed: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.body.text) + (len(self.packed.data) if self.packed else 0)

    def with_failures(self, bundle: RunBundle) -> RunBundle:
        """Return the run as this says it is."""
        return with_parts(bundle, self.failed) if self.failed else bundle


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the request's headers say of the answer's body: codings, and entity tags that the client has."""

    accept_encoding: str | None
    if_none_match: Sequence[str]


class RunResponses:
    """Encodes answers, and keeps those of finished runs, at most `limit` bytes of them; `aclose` ends encoding."""

    def __init__(self, limit: int, metrics: RunMetrics) -> None:
        self._metrics = metrics
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._flights: SingleFlight[Encoded] = SingleFlight(time.time)

    async def aclose(self) -> None:
        """End what is under way."""
        await self._flights.aclose()

    async def answer(
        self, user: User, bundle: RunBundle, shape: Shape, preferences: Preferences, begun: float
    ) -> Response:
        """Return the answer to a request that came at `begun` (monotonic seconds): 200, or 304 if it is known."""
        loaded = time.monotonic()
        favourite = content_coding.choose(preferences.accept_encoding, UNKNOWN_SIZE)
        encoded = await self._encoded(user, bundle, shape, favourite)
        bundle = encoded.with_failures(bundle)
        now = time.monotonic()
        headers = {
            "cache-control": "private, no-cache" if not bundle.partial else "no-store",
            "vary": "Authorization, Cookie, Accept-Encoding",
            "cache-status": cache_status(bundle),
            "server-timing": f"load;dur={(loaded - begun) * 1e3:.1f}, encode;dur={(now - loaded) * 1e3:.1f}",
        }
        rest = metadata_text(encoded.body, bundle, time.time(), (now - begun) * 1000)
        coding = favourite if encoded.packed else content_coding.IDENTITY
        if tag := entity_tag(bundle, encoded.body, rest, coding):
            headers["etag"] = tag
            known = content_coding.matching_tag(preferences.if_none_match, tag) if preferences.if_none_match else None
            if known is not None:
                return Response(None, 304, {**headers, "etag": known})
        if encoded.packed is None:
            return PartsResponse((encoded.body.text, rest), 200, headers, JSON)
        packed = encoded.packed.data, resumable_compression.end(encoded.packed, rest)
        return PartsResponse(packed, 200, {**headers, "content-encoding": coding}, JSON)

    async def plain(
        self, user: User, bundle: RunBundle, shape: Shape, accept_encoding: str | None, begun: float
    ) -> tuple[bytes, str | None]:
        """Return the body of an answer in no coding, and the entity tag that it would have in the client's."""
        favourite = content_coding.choose(accept_encoding, UNKNOWN_SIZE)
        encoded = await self._encoded(user, bundle, shape, content_coding.IDENTITY, favourite)
        body, bundle = encoded.body, encoded.with_failures(bundle)
        rest = metadata_text(body, bundle, time.time(), (time.monotonic() - begun) * 1000)
        coding = content_coding.choose(accept_encoding, len(body.text))
        return body.text + rest, entity_tag(bundle, body, rest, coding)

    async def _encoded(self, user: User, bundle: RunBundle, shape: Shape, coding: str, instead: str = "") -> Encoded:
        """Return the sections encoded; those that cannot change any more are kept.

        Those that are kept in the coding `instead` will do as well.
        """
        states = tuple((part.state, part.at) for part in bundle.parts.values())
        what = (user.principal, orjson.dumps(bundle.snapshot.run), states, shape)
        key = (*what, coding)
        for kept in ((*what, instead), key):
            if (known := self._kept.get(kept)) is not None:
                self._kept.move_to_end(kept)
                self._metrics.bodies.labels("kept").inc()
                return known
        holder = object()
        flight, begun = self._flights.join(key, holder, lambda: asyncio.to_thread(encode, bundle, shape, coding))
        self._metrics.bodies.labels("encoded" if begun else "coalesced").inc()
        try:
            await asyncio.wait((flight.task,))
        finally:
            self._flights.release(flight, holder)
        encoded = flight.task.result()
        if encoded.with_failures(bundle).settled:
            self._keep(key, encoded)
        return encoded

    def _keep(self, key: Hashable, encoded: Encoded) -> None:
        if encoded.size > self._limit // 4 or key in self._kept:
            return
        self._kept[key] = encoded
        self._size += encoded.size
        while self._size > self._limit:
            self._size -= self._kept.popitem(last=False)[1].size


def encode(bundle: RunBundle, shape: Shape, coding: str) -> Encoded:
    """Encode the sections of an answer, and compress them if that is wanted and worth it."""
    failed: tuple[Part, ...] = ()
    try:
        body = encode_sections(bundle, shape)
    except Exception:
        failed = tuple(
            part for part in bundle.parts.values() if part.usable and not _can_be_encoded(bundle, part, shape)
        )
        if not failed:  # It is none of the parts.
            raise
        log.exception("parts of a run could not be encoded", extra={"parts": [part.name for part in failed]})
        error = describe(Internal("the service failed to show this part"))
        failed = tuple(failed_part(part.name, State.FAILED, error, part.began, part.at) for part in failed)
        body = encode_sections(with_parts(bundle, failed), shape)
    worth = coding != content_coding.IDENTITY and len(body.text) >= content_coding.MIN_BYTES
    return Encoded(body, resumable_compression.begin(body.text, coding) if worth else None, failed)


def with_parts(bundle: RunBundle, parts: Sequence[Part]) -> RunBundle:
    """Return a run with some of its parts replaced."""
    return replace(bundle, parts={**bundle.parts, **{part.name: part for part in parts}})


def _can_be_encoded(bundle: RunBundle, part: Part, shape: Shape) -> bool:
    """Tell whether a part can be encoded on its own."""
    alone = {name: skipped_part(name) for name in bundle.parts} | {part.name: part}
    try:
        encode_sections(replace(bundle, parts=alone), shape)
    except Exception as error:
        log.debug("a part cannot be encoded", exc_info=error)
        return False
    return True


def entity_tag(bundle: RunBundle, body: Body, metadata: bytes, coding: str) -> str | None:
    """Return the tag of an answer in a coding; one that will be another soon has none."""
    if not bundle.settled:
        return None
    return content_coding.entity_tag(body.digest, blake2b(metadata, digest_size=6).hexdigest(), coding)


def cache_status(bundle: RunBundle) -> str:
    """Return the value of `Cache-Status` (RFC 9211)."""
    if bundle.stale:
        return "bff-aggregator; hit; detail=stale-if-error"
    if bundle.cache_hit:
        return "bff-aggregator; hit"
    reused = any(part.source == "cache" for part in bundle.parts.values())
    return f"bff-aggregator; fwd={'partial' if reused else 'uri-miss'}"
