"""Frames that nobody can read, and readings that never come to the end: what viewers of such a run see."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest

from bff_shared import foreign_json
from bff_wsrelay.framelog import ingester
from bff_wsrelay.framelog.frame import Malformed, merge_ohlc, parse_frame, parse_time
from tests.support.playback import FAST, Client, play_through, playing, watching
from tests.support.runs import Fate, Message, RunBackend, assert_conserved, source

GOOD = source(1)[0] | {"ohlc": {"o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 3}}
CANDLE = GOOD["ohlc"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ohlc": CANDLE | {"h": "2.0"}},
        {"ohlc": CANDLE | {"v": "3"}},
        {"ohlc": CANDLE | {"c": True}},
        {"ohlc": CANDLE | {"o": [1.0]}},
        {"ohlc": [1.0, 2.0, 0.5, 1.5, 3]},
        {"ohlc": 1.0},
        {"orders": ["buy"]},
        {"orders": [[]]},
        {"orders": {"order_id": "o"}},
        {"equity": "9e4"},
        {"equity": {"ts": "2025-01-02T14:30:00Z", "value": "9e4"}},
        {"ts": 1735828200},
        {"ts": "someday"},
        {"ts": "0001-01-01T00:00:00+14:00"},
        {"ts": "9999-12-31T23:59:59-14:00"},
        {"ts": None},
    ],
    ids=str,
)
def test_a_frame_that_nobody_can_read_is_malformed(wrong: Message) -> None:
    parse_frame(GOOD)
    with pytest.raises(Malformed):
        parse_frame(GOOD | wrong)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"ohlc": None}, {"ohlc": None}),
        ({"ohlc": CANDLE | {"h": None}}, {"ohlc": None}),
        ({"ohlc": {"o": 1.0}}, {"ohlc": None}),
        ({"ohlc": CANDLE | {"v": None}}, {"ohlc": CANDLE | {"v": 0}}),
        ({"ohlc": {"o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5}}, {"ohlc": CANDLE | {"v": 0}}),
        ({"ohlc": CANDLE | {"v": 0.25}}, {"ohlc": CANDLE | {"v": 0.25}}),
        ({"ohlc": CANDLE | {"o": -1, "l": -37.63}}, {"ohlc": CANDLE | {"o": -1, "l": -37.63}}),
        ({"orders": None}, {"orders": []}),
        ({"equity": {"ts": "2025-01-02T14:30:00Z", "value": None}}, {"equity": None}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_missing_from_a_frame_is_none_and_the_rest_is_kept(given: Message, kept: Message) -> None:
    frame = orjson.loads(parse_frame(GOOD | given).head + b"}")
    wanted = {key: value for key, value in (GOOD | kept).items() if key not in {"dropped", "n", "seq"}}
    assert {key: frame[key] for key in wanted} == wanted


def test_a_candle_without_one_of_its_prices_is_none() -> None:
    text = b'{"t":"frame","ts":"2025-01-02T14:30:00Z","ohlc":{"o":NaN,"h":2,"l":1,"c":1,"v":1}}'
    assert parse_frame(foreign_json.loads(text)).ohlc is None


@pytest.mark.parametrize("value", ['"\\ud83d"', "2" * 400, str(2**70), "[" * 150 + "]" * 150], ids=len)
def test_what_pythons_json_writes_can_be_written_again(value: str) -> None:
    text = f'{{"t":"frame","ts":"2025-01-02T14:30:00Z","orders":[{{"note":{value}}}],"metrics":{value}}}'
    assert orjson.loads(parse_frame(foreign_json.loads(text)).head + b"}")["orders"][0].keys() == {"note"}


def test_a_message_that_is_nested_too_deeply_is_malformed() -> None:
    with pytest.raises(foreign_json.MalformedJson):
        foreign_json.loads(f'{{"t":"frame","orders":{"[" * 100_000}{"]" * 100_000}}}')


def test_volumes_add_up_to_something_that_json_can_carry() -> None:
    for volume in (2**63 - 1, 1.7e308):
        candle = CANDLE | {"v": volume}
        merged = merge_ohlc(merge_ohlc(candle, candle), candle)
        assert merged is not None
        assert orjson.loads(orjson.dumps(merged)) == merged


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-00:01"])
def test_a_time_outside_the_years_that_can_be_written_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="years"):
        parse_time(text)


def left_out(client: Client) -> list[int]:
    return [message["malformed"] for message in client.messages if "malformed" in message]


def broken(frames: list[Message], *indexes: int) -> list[Message]:
    """Return frames some of which have a price that is text."""
    return [
        frame | {"ohlc": CANDLE | {"h": "2.0"}} if index in indexes else frame for index, frame in enumerate(frames)
    ]


async def test_a_malformed_frame_is_left_out_counted_and_reported() -> None:
    run = source(300)
    backend = RunBackend(broken(run, 100, 101, 200))
    rest = [frame for index, frame in enumerate(run) if index not in {100, 101, 200}]
    async with playing(backend) as relay:
        async with watching(relay.stream(FAST)) as client:
            await play_through(client)
            assert_conserved(client.frames, rest)
            assert left_out(client) in ([1, 2, 3], [2, 3], [3], [1, 3])
        async with watching(relay.stream(FAST)) as later:
            await play_through(later)
            assert_conserved(later.frames, rest)
            assert left_out(later) == [3]
        assert relay.value("bff_stream_malformed_frames_total") == 3
        assert backend.connections == 1


async def test_a_message_that_is_no_json_costs_nothing_but_itself() -> None:
    run = source(300)
    backend = RunBackend([*run[:150], "\ud83d{", *run[150:]])  # type: ignore[list-item]
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert_conserved(client.frames, run)


async def test_malformed_frames_are_counted_once_however_often_the_run_is_read() -> None:
    run = source(300)
    backend = RunBackend(broken(run, 50), lambda n: Fate(kill_after=100 + 50 * n) if n < 3 else Fate())
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert_conserved(client.frames, run[:50] + run[51:])
        assert backend.connections == 4
        assert relay.value("bff_stream_malformed_frames_total") == 1


async def test_a_run_whose_announced_frames_were_partly_malformed_ends() -> None:
    run = [frame | {"total_frames": 120} for frame in source(120)]
    backend = RunBackend(broken(run, 7), says_end=False)
    async with playing(backend, read_quiet_seconds=1000) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert client.frames[-1]["seq"] == 118


async def test_a_run_none_of_whose_frames_can_be_read_is_refused_for_good() -> None:
    backend = RunBackend(broken(source(40), *range(40)))
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        assert await client.until_closed() == 4424
        assert client.messages[-1]["code"] == "STREAM_ERROR"


async def test_a_pass_that_always_breaks_at_the_same_frame_is_given_up() -> None:
    backend = RunBackend(source(300), lambda _: Fate(kill_after=100))
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        assert await client.until_closed() == 4424
        assert client.messages[-1]["msg"] == "the backend always breaks this run off at the same frame"
        assert backend.connections == 3


async def test_a_pass_that_always_breaks_before_the_first_frame_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingester, "REPLAY_SCHEDULE", (0.01,))
    backend = RunBackend(source(300), lambda _: Fate(kill_after=0))
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        assert await client.until_closed() == 4424
        assert client.messages[-1]["msg"] == "the backend always breaks this run off before its first frame"


async def test_a_pass_that_breaks_before_the_first_frame_a_few_times_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingester, "REPLAY_SCHEDULE", (0.01,))
    backend = RunBackend(source(300), lambda number: Fate(kill_after=0) if number < 7 else Fate())
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert_conserved(client.frames, backend.frames)


async def test_a_pass_that_always_breaks_where_the_equity_ends_was_whole() -> None:
    frames = source(100)
    curve = [{"timestamp": frames[-1]["ts"], "equity": 1.0}]
    backend = RunBackend([*frames, frames[0]], lambda _: Fate(kill_after=100), curve=curve)
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert_conserved(client.frames, frames)


@pytest.mark.parametrize("says_end", [True, False])
async def test_a_finished_run_without_frames_ends(*, says_end: bool) -> None:
    async with playing(RunBackend([], says_end=says_end)) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert client.frames == []
        assert [message["total"] for message in client.messages if message["t"] == "extent"] in ([0], [])


async def test_frames_with_equal_times_are_neither_lost_nor_doubled_after_a_break() -> None:
    frames = source(300)
    for index in range(0, 300, 3):
        frames[index + 1]["ts"] = frames[index]["ts"]
        frames[index + 2] = dict(frames[index + 1])
    backend = RunBackend(frames, lambda n: Fate(kill_after=99 + 2 * n) if n < 4 else Fate())
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert_conserved(client.frames, frames)
        assert backend.connections == 5


async def test_a_run_that_cannot_be_read_is_not_read_again_for_every_viewer() -> None:
    backend = RunBackend(source(300), lambda _: Fate(kill_after=100), tokens={"a": 200, "b": 200})
    async with playing(backend) as relay:
        codes = []
        for _ in range(5):
            async with watching(relay.stream(FAST), "a") as client:
                codes.append(await client.until_closed())
        assert codes == [4424] * 5
        assert backend.connections == 3
        async with watching(relay.stream(FAST), "b") as other:  # other credentials, other failures
            assert await other.until_closed() == 4424
        assert backend.connections == 6


async def test_a_failure_is_forgotten_after_a_while() -> None:
    backend = RunBackend(source(300), lambda n: Fate(kill_after=100) if n < 3 else Fate())
    async with playing(backend, read_failure_seconds=0.2) as relay:
        async with watching(relay.stream(FAST)) as client:
            assert await client.until_closed() == 4424
        async with asyncio.timeout(20):
            while True:
                async with watching(relay.stream(FAST)) as again:
                    if (await again.next())["t"] == "err":
                        continue
                    await play_through(again)
                    assert_conserved(again.frames, backend.frames)
                    break
        assert backend.connections == 4


@pytest.mark.slow
async def test_one_malformed_run_among_twenty_good_ones_costs_their_viewers_nothing() -> None:
    run = source(600)
    backend = RunBackend(broken(run, *range(0, 600, 3)), more={f"good{number}": run for number in range(20)})
    async with playing(backend) as relay, AsyncExitStack() as stack:
        good = [
            await stack.enter_async_context(watching(relay.stream("?speed=4&autoplay=1", f"good{number}")))
            for number in range(20)
        ]
        for client in good:
            await client.until_type("frame")
        async with longest_turn() as turn:
            bad = [await stack.enter_async_context(watching(relay.stream("?speed=120&autoplay=1"))) for _ in range(5)]
            for client in bad:
                await client.until_type("end")
        for client in bad:
            assert max(left_out(client)) == 200
        for client in good:
            await client.until_type("end")
            assert_conserved(client.frames, run)
        # What stops the loop stops every viewer. All of them, and the backend, share this loop and its turns.
        assert turn.seconds < 0.1


@dataclass
class Turn:
    """The longest turn of the event loop, in seconds of this thread's CPU, which no other process can make longer."""

    seconds: float = 0.0


@asynccontextmanager
async def longest_turn() -> AsyncIterator[Turn]:
    """Measure the turns of the loop while the context is open."""
    turn = Turn()

    async def watch() -> None:
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0)
            turn.seconds = max(turn.seconds, time.thread_time() - begun)

    task = asyncio.create_task(watch())
    try:
        yield turn
    finally:
        task.cancel()
