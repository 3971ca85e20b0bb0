"""A stream goes on only while the backend lets its very credential read the run."""

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from bff_shared.access.credentials import Rules
from bff_shared.access.gate import AccessGate
from bff_shared.access.verdicts import Periods, Verdicts
from bff_wsrelay.framelog.failures import Failure, FailureReason, refusal_of
from bff_wsrelay.playback.access_watch import AccessWatch
from tests.support.judge import token_of
from tests.support.playback import Relay, playing, watching
from tests.support.runs import RunBackend, assert_conserved, source

ANN, ANN_AGAIN, BOB = token_of("ann", 1), token_of("ann", 2), token_of("bob", 3)
UNAUTHORIZED = FailureReason("UNAUTHORIZED", "", 4401)
SOON: dict[str, Any] = {"access_seconds": 0.5}


def backend(*accepted: str, frames: int = 400) -> RunBackend:
    return RunBackend(source(frames), tokens=dict.fromkeys(accepted, 200))


def topics(relay: Relay) -> int:
    return len(relay.app.state.registry._entries)


@pytest.mark.parametrize("scope", ["credentials", "identity", "shared"])
async def test_stream_under_way_of_a_revoked_token_ends_with_the_backends_refusal(scope: str) -> None:
    runs = backend(ANN, BOB)
    async with (
        playing(runs, cache_scope=scope, **SOON) as relay,
        watching(relay.stream("?speed=0.25&autoplay=1"), ANN) as ann,
        watching(relay.stream("?speed=0.25&autoplay=1"), BOB) as bob,
    ):
        await ann.until_type("frame")
        await bob.until_type("frame")
        runs.tokens[ANN] = 401
        assert await ann.until_closed() == 4401
        assert ann.messages[-1]["code"] == "UNAUTHORIZED"
        await bob.until_type("frame")


async def test_stream_goes_on_while_the_backend_cannot_be_asked_and_ends_after_that_time() -> None:
    runs = backend(ANN)
    async with (
        playing(runs, **SOON, access_stale_seconds=1.0, retries=0) as relay,
        watching(relay.stream("?speed=0.25&autoplay=1"), ANN) as ann,
    ):
        await ann.until_type("frame")
        runs.tokens[ANN] = 503
        assert await ann.until_closed() == 1013
        assert ann.frames


@pytest.mark.parametrize(("scope", "logs"), [("credentials", 3), ("identity", 2), ("shared", 1)])
async def test_frame_logs_are_shared_as_cached_data_is(scope: str, logs: int) -> None:
    runs = backend(ANN, ANN_AGAIN, BOB)
    async with playing(runs, cache_scope="credentials", cache_scope_runs=scope) as relay:
        for token in (ANN, ANN_AGAIN, BOB):
            async with watching(relay.stream("?speed=3600&autoplay=1"), token) as viewer:
                await viewer.until_type("end")
                assert_conserved(viewer.frames, runs.frames)
        assert topics(relay) == runs.connections == logs


@pytest.mark.parametrize("scope", ["identity", "shared"])
async def test_log_is_there_for_nobody_whom_the_backend_has_not_accepted(scope: str) -> None:
    runs = backend(ANN)
    forged = token_of("ann", 9, forged=True)
    runs.tokens[forged] = 401
    async with playing(runs, cache_scope=scope) as relay:
        async with watching(relay.stream("?speed=3600&autoplay=1"), ANN) as ann:
            await ann.until_type("end")
            with pytest.raises(InvalidStatus) as refused:
                async with watching(relay.stream(), forged):
                    pass
            assert refused.value.response.status_code == 401
        async with watching(relay.stream("?speed=3600&autoplay=1"), ANN) as again:
            await again.until_type("end")


async def test_another_reader_takes_over_where_the_backend_refuses_the_one_who_began() -> None:
    runs = backend(ANN, BOB, frames=300)
    runs.status = "RUNNING"
    async with (
        playing(runs, cache_scope="shared", access_seconds=1.0) as relay,
        watching(relay.stream("?speed=3600&autoplay=1"), ANN) as ann,
        watching(relay.stream("?speed=3600&autoplay=1"), BOB) as bob,
    ):
        await bob.until(lambda message: message["t"] == "frame" and message["seq"] == 299)
        runs.tokens[ANN] = 401
        assert await ann.until_closed() == 4401
        runs.status = "DONE"
        await bob.until_type("end")
        assert_conserved(bob.frames, runs.frames)


class _Gate:
    """A gate that answers what it is told to; `asked` are its questions."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def renew(self, *_: object) -> bool:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    gate = AccessGate(Verdicts(Periods(0.001, 0.0)), refusal_of)


class _Stream:
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.reason: FailureReason | None = None

    def fail(self, reason: FailureReason) -> None:
        self.reason = reason
        self.ended.set()


async def test_all_streams_of_a_reader_share_one_question_and_one_end() -> None:
    gate = _Gate(False, ZeroDivisionError(), True, Failure(*UNAUTHORIZED))
    watch = AccessWatch(gate)  # type: ignore[arg-type]
    reader, streams = Rules().reader(b"k", ()), [_Stream(), _Stream()]
    with watch.covering(reader, "run", streams[0]), watch.covering(reader, "run", streams[1]):
        async with asyncio.timeout(20):
            for stream in streams:
                await stream.ended.wait()
    assert [stream.reason for stream in streams] == [UNAUTHORIZED] * 2
    assert gate.asked == 4, "a defect of ours ends nothing"
    assert not watch._tasks
