"""The playback endpoint through real sockets: a relay, a backend with the deployed one's habits, unmodified clients."""

import asyncio
import gc
import json
import logging
import random
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.passthrough import open_sockets
from tests.support.playback import FAST, Relay, play_through, playing, watching
from tests.support.rfc6455 import Peer, close
from tests.support.runs import Fate, Message, RunBackend, assert_conserved, source

ADMIN = {"Authorization": "Bearer admin"}


async def test_every_frame_of_the_run_arrives_once_and_then_the_end() -> None:
    backend = RunBackend(source(3000))
    async with playing(backend) as relay, watching(relay.stream("?speed=600")) as client:
        hello = await client.next()
        assert hello["t"] == "hello"
        assert hello["seq"] == -1
        assert (hello["fps"], hello["speed"]) == (30, 600)
        await play_through(client)
        assert_conserved(client.frames, backend.frames)
        assert relay.value("bff_stream_imbalances_total") == 0
        assert relay.value("bff_stream_source_frames_total") == 3000


async def test_the_end_is_found_by_quiet_where_the_backend_never_says_it() -> None:
    backend = RunBackend(source(300), says_end=False)
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert_conserved(client.frames, backend.frames)


def extents(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message["t"] == "extent"]


@pytest.mark.parametrize("says_end", [True, False])
async def test_a_viewer_that_does_not_play_gets_the_extent_of_the_run_once(*, says_end: bool) -> None:
    known = {"total": 300, "from": "2025-01-02T14:30:00Z", "to": "2025-01-02T19:29:00Z"}
    async with playing(RunBackend(source(300), says_end=says_end)) as relay:
        async with watching(relay.stream(FAST)) as client:
            assert (await client.next())["total"] is None
            assert await client.until_type("extent") == {"t": "extent", **known}
            await play_through(client)
            assert len(extents(client.messages)) == 1
        async with watching(relay.stream(FAST)) as later:
            hello = await later.next()
            assert {name: hello[name] for name in known} == known
            await play_through(later)
            assert extents(later.messages) == []


async def test_the_extent_of_a_run_that_grows_is_sent_when_it_is_over_and_before_the_end() -> None:
    backend = RunBackend(source(200), status="RUNNING", says_end=False)
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await client.control(cmd="play")
        await client.until(lambda message: message["t"] == "frame" and message["seq"] == 199)
        assert extents(client.messages) == []
        backend.frames, backend.status = source(260), "DONE"
        await client.until_type("end")
        await client.connection.send('{"t":"ready"}')
        await client.until_type("ready_ack")
        assert [message["total"] for message in extents(client.messages)] == [260]
        kinds = [message["t"] for message in client.messages]
        assert kinds.index("extent") < kinds.index("end")


async def test_the_extent_of_a_run_that_turns_out_shorter_is_sent_before_its_end() -> None:
    backend = RunBackend(source(400), status="RUNNING")
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await client.control(cmd="play")
        await client.until(lambda message: message["t"] == "frame" and message["seq"] == 399)
        backend.frames, backend.status = source(400)[:300], "DONE"
        await client.until_type("end")
        told = [message for message in client.messages if message["t"] in {"status", "extent", "end"}]
        assert [message.get("state", message["t"]) for message in told][-3:] == ["epoch", "extent", "end"]
        assert told[-2]["total"] == 300


LAST = [{"timestamp": "2025-01-02T19:29:00Z", "equity": 1.0}]


@pytest.mark.parametrize(
    ("curve", "connections"), [(LAST, 2), (LAST[:0], 1), (None, 1)], ids=["lacks frames", "has none", "is not there"]
)
async def test_a_stall_is_not_the_end_where_the_equity_goes_further(
    curve: list[dict[str, Any]] | None, connections: int
) -> None:
    backend = RunBackend(
        source(300), lambda n: Fate(stall_after=200) if n == 0 else Fate(), says_end=False, curve=curve
    )
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert backend.connections == connections
        assert_conserved(client.frames, backend.frames, whole=connections == 2)


async def test_frames_that_always_stop_before_the_equity_does_are_believed_the_second_time() -> None:
    curve = [{"ts": "2025-01-02T21:00:00Z", "value": 1.0}]
    backend = RunBackend(source(300), says_end=False, curve=curve)
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert backend.connections == 2
        assert_conserved(client.frames, backend.frames)


@pytest.mark.slow
async def test_a_hundred_upstream_kills_at_random_frames_are_not_noticed() -> None:
    draw = random.Random(3)  # noqa: S311  test data
    moments = sorted(draw.sample(range(1, 400), 100))
    backend = RunBackend(source(400), lambda n: Fate(kill_after=moments[n]) if n < 100 else Fate())
    async with playing(backend) as relay, watching(relay.stream("?speed=5")) as client:
        await play_through(client)
        assert backend.connections == 101
        assert_conserved(client.frames, backend.frames)


async def test_a_backend_that_is_restarted_is_found_again_at_its_port() -> None:
    backend = RunBackend(source(2000), lambda n: Fate(stall_after=500) if n == 0 else Fate())
    async with playing(backend, read_quiet_seconds=30) as relay, watching(relay.stream(FAST)) as client:
        await client.control(cmd="play")
        await client.until(lambda message: message["t"] == "frame" and message["seq"] == 499)
        await backend.stop(keep_port=True)
        await client.until(lambda message: message.get("state") == "reconnecting")
        await backend.start()
        await client.until_type("end")
        assert_conserved(client.frames, backend.frames)


async def test_a_backend_that_falls_silent_is_dialled_again() -> None:
    backend = RunBackend(source(800), lambda n: Fate(stall_after=400) if n == 0 else Fate(), beat_seconds=1000)
    async with playing(backend, read_stall_seconds=0.3) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        assert backend.connections == 2
        assert_conserved(client.frames, backend.frames)


async def test_viewers_of_one_run_share_a_connection_and_credentials_do_not() -> None:
    backend = RunBackend(source(300), tokens={"a": 200, "b": 200})
    async with playing(backend) as relay, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(watching(relay.stream(FAST), "a")) for _ in range(500)]
        await asyncio.gather(*(play_through(client) for client in clients))
        for client in clients:
            assert_conserved(client.frames, backend.frames)
        assert backend.connections == 1
        async with watching(relay.stream(FAST), "b") as other:
            await play_through(other)
        assert backend.connections == 2


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "FORBIDDEN")])
async def test_refused_credentials_get_nothing_from_the_log(
    status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RunBackend(source(300), tokens={"good": 200, "bad": status})
    async with playing(backend) as relay, watching(relay.stream(FAST), "good") as client:
        await play_through(client)
        with pytest.raises(InvalidStatus) as refused:
            async with watching(relay.stream("?autoplay=1"), "bad"):
                pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["error"]["code"] == code
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_credentials_that_were_good_are_judged_again_for_new_viewers() -> None:
    backend = RunBackend(source(300), tokens={"good": 200})
    async with playing(backend, log_recheck_seconds=0) as relay, watching(relay.stream(FAST), "good") as client:
        await play_through(client)
        backend.tokens["good"] = 401
        with pytest.raises(InvalidStatus) as refused:
            async with watching(relay.stream(FAST), "good"):
                pass
        assert refused.value.response.status_code == 401


async def test_a_log_outlives_its_backend() -> None:
    backend = RunBackend(source(300))
    async with playing(backend, log_recheck_seconds=0) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        await backend.stop(keep_port=True)
        async with watching(relay.stream(FAST)) as other:
            await play_through(other)
            assert_conserved(other.frames, backend.frames)
            assert "status" not in [message["t"] for message in other.messages]


async def test_an_unknown_run_is_an_error_and_a_close_that_says_do_not_come_back() -> None:
    async with playing(RunBackend(source(3))) as relay, watching(relay.stream(run="nowhere")) as client:
        assert await client.until_closed() == 4404
        assert client.messages[-1]["code"] == "RUN_NOT_FOUND"


async def test_a_defect_of_the_ingester_sends_viewers_away_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a defect")

    async with playing(RunBackend(source(10)), read_failure_seconds=0) as relay:
        with monkeypatch.context() as patch:
            patch.setattr("bff_wsrelay.framelog.ingester.read_detail", broken)
            async with watching(relay.stream(FAST)) as client:
                assert await client.until_closed() == 1011
                assert client.messages[-1]["code"] == "INTERNAL"
        async with watching(relay.stream(FAST)) as client:
            await play_through(client)


async def test_a_run_that_is_not_ready_is_waited_for_and_starts_by_itself() -> None:
    backend = RunBackend([], status="QUEUED")
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await client.control(cmd="play")
        await client.until(lambda message: message.get("state") == "waiting")
        backend.frames, backend.status = source(400), "RUNNING"
        await client.until(lambda message: message["t"] == "frame" and message["seq"] == 399)
        backend.frames, backend.status = source(900), "DONE"
        await client.until_type("end")
        assert_conserved(client.frames, backend.frames)


async def test_a_run_that_changed_is_announced() -> None:
    backend = RunBackend(source(400), status="RUNNING")
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await client.control(cmd="play")
        hello = await client.next()
        await client.until(lambda message: message["t"] == "frame" and message["seq"] == 399)
        backend.frames, backend.status = source(500, seed=2), "DONE"
        told = await client.until(lambda message: message.get("state") == "epoch")
        assert told["epoch"] != hello["epoch"]
        assert told["reason"] == "changed"
        assert extents(client.messages) == []
        await client.until_type("end")
        assert [message["total"] for message in extents(client.messages)] == [500]
        following = client.frames[client.frames.index(next(f for f in client.frames if f["seq"] > 399)) :]
        assert_conserved(following, backend.frames, start=400)


@pytest.mark.parametrize("needs_ready", [True, False])
@pytest.mark.parametrize("says_ready", [True, False])
@pytest.mark.parametrize("spelling", [("pos", "val"), ("ts", "speed")])
async def test_a_client_of_the_backend_works_unchanged(
    needs_ready: bool, says_ready: bool, spelling: tuple[str, str]
) -> None:
    backend = RunBackend(source(600), needs_ready=needs_ready)
    position, value = spelling
    async with playing(backend) as relay, watching(relay.stream()) as client:
        if says_ready:
            await client.connection.send('{"t":"ready"}')
            await client.until_type("ready_ack")
        await client.control(cmd="speed", **{value: 3600})
        assert (await client.until_type("ctrl"))["echo"] is True
        await client.control(cmd="play")
        await client.until_type("end")
        assert_conserved(client.frames, backend.frames)
        await client.control(cmd="seek", **{position: backend.frames[100]["ts"]})
        assert (await client.until_type("ctrl"))[position] == backend.frames[100]["ts"]
        shown = await client.until_type("frame")
        assert (shown["seq"], shown["n"], shown["ohlc"]) == (100, 1, backend.frames[100]["ohlc"])


async def test_bad_messages_are_answered_and_the_connection_stays_open() -> None:
    backend = RunBackend(source(100))
    wrong: list[tuple[str, str]] = [
        ("not json", "VALIDATION"),
        ('{"t":"hello"}', "VALIDATION"),
        ('{"t":"ctrl","cmd":"dance"}', "VALIDATION"),
        ('{"t":"ctrl","cmd":"speed","val":"fast"}', "VALIDATION"),
        ('{"t":"ctrl","cmd":"seek","pos":"someday"}', "VALIDATION"),
        ('{"t":"ctrl","cmd":"seek","pos":1e30}', "VALIDATION"),
        ('{"t":"ctrl","cmd":"speed","val":4000}', "RANGE"),
        ('{"t":"ctrl","cmd":"fps","val":0}', "RANGE"),
        ('{"t":"ctrl","cmd":"seek","pos":100}', "RANGE"),
        ('{"t":"ctrl","cmd":"seek","pos":"1990-01-01T00:00:00Z"}', "RANGE"),
        ('{"t":"ctrl","cmd":"step","val":3}', "RANGE"),
    ]
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        for text, code in wrong:
            await client.connection.send(text)
            assert (await client.until_type("err"))["code"] == code, text
        assert client.messages[-2]["details"] == {"min": "2025-01-02T14:30:00Z", "max": backend.frames[-1]["ts"]}
        await play_through(client)


async def test_step_shows_one_frame_in_either_direction() -> None:
    async with playing(RunBackend(source(100))) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        await client.control(cmd="seek", pos=50)
        for value, seq in ((1, 51), (1, 52), (-1, 51), (-1, 50)):
            await client.control(cmd="step", val=value)
            while (frame := await client.until_type("frame"))["seq"] != seq:
                assert frame["seq"] == 50
            assert frame["n"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("kills", [0, 20])
async def test_a_slow_viewer_gets_everything_in_fewer_frames_and_others_are_not_delayed(kills: int) -> None:
    backend = RunBackend(source(8000), lambda n: Fate(kill_after=300 * (n + 1)) if n < kills else Fate())
    async with (
        playing(backend, stream_viewer_bytes=1024) as relay,
        watching(relay.stream("?speed=120&fps=60")) as swift,
    ):
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            narrow.connect(("127.0.0.1", relay.port))
            url = relay.stream("?speed=120&fps=60&autoplay=1")
            async with watching(url, sock=narrow, max_queue=1) as slow:
                await slow.next()
                await play_through(swift)
                await slow.until_type("end")
        assert backend.connections == kills + 1
        assert_conserved(swift.frames, backend.frames)
        assert_conserved(slow.frames, backend.frames)
        assert swift.frames[-1]["dropped"] == 0
        assert slow.frames[-1]["dropped"] > 0
        assert relay.value("bff_stream_dropped_total") == slow.frames[-1]["dropped"]


async def recording_of(relay: Relay, found: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what is known of the run's log is as it should be."""
    async with asyncio.timeout(20), httpx.AsyncClient() as http:
        while not found((await http.get(f"{relay.url}/api/v1/streams")).json()["frame_logs"][0]):
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_an_outage_is_not_noticed_while_the_log_is_ahead() -> None:
    backend = RunBackend(source(600), lambda n: Fate(stall_after=400) if n == 0 else Fate())
    async with playing(backend, read_quiet_seconds=30) as relay, watching(relay.stream("?speed=5")) as client:
        await recording_of(relay, lambda one: one["frames"] == 400)
        await client.control(cmd="play")
        await client.until_type("frame")
        await backend.stop(keep_port=True)
        await recording_of(relay, lambda one: one["state"] == "reconnecting")
        during = await client.until_type("frame")
        assert during["seq"] < 399
        await backend.start()
        await client.until_type("end")
        assert "status" not in [message["t"] for message in client.messages]
        assert_conserved(client.frames, backend.frames)


@pytest.mark.slow
async def test_nothing_is_left_of_viewers_that_come_and_go() -> None:
    backend = RunBackend(source(300))
    async with playing(backend, log_linger=0, stream_max_per_client=10_000) as relay:
        await visits(relay.port, 100)
        before = await settled(relay, backend)
        await visits(relay.port, 1000)
        after = await settled(relay, backend)
        assert after[:2] == before[:2]
        assert after[2] - before[2] < 500
        assert relay.value("bff_stream_log_bytes") == 0


async def settled(relay: Relay, backend: RunBackend) -> tuple[int, int, int]:
    """Return the tasks, sockets and objects that are left once every viewer is gone, and the backend's reader too."""
    async with asyncio.timeout(20):
        while relay.app.state.playback.subscribers or relay.value("bff_stream_recordings") or backend.open:
            await asyncio.sleep(0.005)
        left = (-1, -1)
        while left != (left := (len(asyncio.all_tasks()), open_sockets())):
            await asyncio.sleep(0.05)
    gc.collect()
    return *left, len(gc.get_objects())


async def visits(port: int, count: int) -> None:
    """Let viewers come and go, fifty at a time, every other one without a word."""
    for start in range(0, count, 50):
        await asyncio.gather(*(visit(port, number) for number in range(start, start + 50)))


async def visit(port: int, number: int) -> None:
    """Open a stream, hear one message, leave."""
    peer = await Peer.open(f"ws://127.0.0.1:{port}/api/v1/runs/run/stream?autoplay=1")
    try:
        assert await peer.frame() is not None
        if number % 2:
            await peer.send(close(1000))
            await peer.rest()
    finally:
        peer.leave()


async def test_pause_holds_and_play_goes_on_where_it_was() -> None:
    backend = RunBackend(source(1200))
    async with playing(backend) as relay, watching(relay.stream("?speed=10")) as client:
        await client.control(cmd="play")
        await client.until_type("frame")
        await client.control(cmd="pause")
        await client.until(lambda message: message.get("cmd") == "pause")
        count = len(client.frames)
        await client.control(cmd="speed", val=3600)
        assert (await client.next())["cmd"] == "speed"
        assert len(client.frames) == count
        await play_through(client)
        assert_conserved(client.frames, backend.frames)


async def test_heartbeats_come_while_nothing_else_does() -> None:
    async with playing(RunBackend(source(10)), stream_heartbeat=0.05) as relay, watching(relay.stream()) as client:
        for _ in range(3):
            await client.until_type("hb")


async def test_a_viewer_that_says_too_much_is_closed() -> None:
    async with playing(RunBackend(source(10)), stream_max_controls=5) as relay, watching(relay.stream()) as client:
        for _ in range(10):
            await client.connection.send('{"t":"hb"}')
        assert await client.until_closed() == 1008


async def test_a_plain_request_is_told_what_the_resource_is() -> None:
    async with playing(RunBackend(source(3))) as relay, httpx.AsyncClient() as http:
        answer = await http.get(f"{relay.url}/api/v1/runs/run/stream")
        assert answer.status_code == 426
        assert answer.json()["error"]["code"] == "UPGRADE_REQUIRED"
        assert (
            await http.get(f"{relay.url}/api/v1/runs/run/stream?speed=x", headers={"Accept": "text/event-stream"})
        ).status_code == 422


async def test_a_full_relay_refuses_the_handshake_and_says_when_to_come_back() -> None:
    async with playing(RunBackend(source(3)), stream_max_connections=1) as relay, watching(relay.stream()):
        with pytest.raises(InvalidStatus) as refused:
            async with watching(relay.stream()):
                pass
    assert refused.value.response.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) >= 1


async def test_a_page_of_another_origin_is_refused() -> None:
    async with playing(RunBackend(source(3)), allowed_origins=("https://good.example",)) as relay:
        with pytest.raises(InvalidStatus) as refused:
            async with watching(relay.stream(), origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403
        async with watching(relay.stream(), origin="https://good.example") as client:
            assert (await client.next())["t"] == "hello"


async def test_streams_are_listed_with_their_figures() -> None:
    backend = RunBackend(source(300))
    async with (
        playing(backend, admin_token="admin") as relay,
        watching(relay.stream(FAST)) as client,
        httpx.AsyncClient() as http,
    ):
        await play_through(client)
        body = (await http.get(f"{relay.url}/api/v1/streams", headers=ADMIN)).json()
        assert body["viewers"] == 1
        assert body["imbalances"] == 0
        (stream,) = body["streams"]
        assert (stream["run_id"], stream["state"], stream["seq"]) == ("run", "ended", 299)
        (recording,) = body["frame_logs"]
        assert (recording["frames"], recording["state"], recording["viewers"]) == (300, "finished", 1)


async def test_streams_of_other_credentials_are_for_the_admin_only() -> None:
    backend = RunBackend(source(300), tokens={"alice": 200, "bob": 200})
    async with (
        playing(backend, admin_token="admin") as relay,
        watching(relay.stream(FAST), "alice") as alice,
        watching(relay.stream(), "bob"),
        httpx.AsyncClient() as http,
    ):
        await play_through(alice)

        async def seen(token: str) -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await http.get(f"{relay.url}/api/v1/streams", headers=headers)
            assert answer.headers["cache-control"] == "no-store"
            body: dict[str, Any] = answer.json()
            return body

        for stranger in ("", "mallory", "adminn"):
            assert await seen(stranger) == {"viewers": 0, "frame_logs": [], "streams": []}
        own = await seen("alice")
        assert (own["viewers"], len(own["streams"]), len(own["frame_logs"])) == (1, 1, 1)
        assert own["streams"][0]["seq"] == 299
        assert "connections" not in own
        everything = await seen("admin")
        assert (everything["viewers"], everything["connections"], len(everything["frame_logs"])) == (2, 2, 2)


async def test_guesses_at_the_admin_token_are_slowed_and_logged_as_at_every_other_route(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = RunBackend(source(3), tokens={"alice": 200})
    async with (
        playing(backend, admin_token="admin") as relay,
        watching(relay.stream(), "alice"),
        httpx.AsyncClient() as http,
    ):

        async def asked(headers: dict[str, str]) -> httpx.Response:
            return await http.get(f"{relay.url}/api/v1/streams", headers=headers)

        assert (await asked(ADMIN)).status_code == 200
        answers = [await asked({"Authorization": f"Bearer {guess}"}) for guess in range(20)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 10
        assert int(refused[0].headers["retry-after"]) >= 1
        assert [record.getMessage() for record in caplog.records].count("a wrong admin token") == 20 - len(refused)
        for _ in range(20):
            own = await asked({"Authorization": "Bearer alice"})
            assert (own.status_code, own.json()["viewers"]) == (200, 1)
            assert (await asked({})).status_code == 200
        assert "connections" in (await asked(ADMIN)).json()


async def test_clients_that_fill_the_relay_do_not_spend_the_flags_budget() -> None:
    async with playing(RunBackend(source(3)), stream_max_connections=1) as relay:
        outcomes = relay.app.state.service.metrics.outcomes
        outcomes.enable(5, ())
        async with watching(relay.stream()):
            for _ in range(20):
                with pytest.raises(InvalidStatus) as refused:
                    async with watching(relay.stream()):
                        pass
                assert refused.value.response.status_code == 503
            assert outcomes.take() == {}
            assert relay.app.state.admission.take_refusals() == {"capacity": 20}


async def test_a_log_is_dropped_some_time_after_its_last_viewer() -> None:
    backend = RunBackend(source(300))
    async with playing(backend, log_linger=0.05) as relay:
        async with watching(relay.stream(FAST)) as client:
            await play_through(client)
        async with asyncio.timeout(30):
            while relay.value("bff_stream_recordings"):
                await asyncio.sleep(0.01)
        assert relay.value("bff_stream_log_bytes") == 0


async def test_what_nobody_watches_is_evicted_for_what_somebody_does() -> None:
    backend = RunBackend(source(12_000), tokens={"a": 200, "b": 200})
    async with playing(backend, log_total_bytes=1024 * 1024) as relay:
        for token in ("a", "b"):
            async with watching(relay.stream(FAST), token) as client:
                await play_through(client)
                assert_conserved(client.frames, backend.frames)
        assert relay.value("bff_stream_log_bytes") <= 1024 * 1024


@pytest.mark.parametrize("run", ["sma:AAPL:7", "2024-01-02T14:30:00", "a~b", "YWJj==", "a b+c%20", "x" * 129])
async def test_a_run_of_any_printable_id_is_played(run: str) -> None:
    backend = RunBackend(source(20), more={run: source(20)})
    async with playing(backend) as relay, watching(relay.stream(FAST, quote(run, safe=""))) as client:
        await play_through(client)
        assert_conserved(client.frames, source(20))
