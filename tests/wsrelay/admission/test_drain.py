"""Connections that are drained at the end of the process."""

import pytest

from bff_shared.errors import Busy
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.settings import RelaySettings


class Connection:
    def __init__(self) -> None:
        self.retry_ms: list[int] = []

    def drain(self, retry_ms: int) -> None:
        self.retry_ms.append(retry_ms)


async def test_a_drain_sends_every_connection_away_once_and_admits_no_other() -> None:
    admission = Admission(RelaySettings(stream_drain_spread=0.02))
    connections = [Connection() for _ in range(20)]
    gone = Connection()
    with admission.drain.covering(gone):
        pass
    covered = [admission.drain.covering(connection) for connection in connections]
    for context in covered:
        context.__enter__()
    await admission.drain.run()
    assert all(len(connection.retry_ms) == 1 and connection.retry_ms[0] > 0 for connection in connections)
    assert len({connection.retry_ms[0] for connection in connections}) > 1
    assert not gone.retry_ms
    scope = {"type": "websocket", "scheme": "ws", "client": ("127.0.0.1", 1), "headers": []}
    with pytest.raises(Busy), admission.admit(scope):
        pass
    late = Connection()
    with admission.drain.covering(late):
        assert len(late.retry_ms) == 1


def test_a_drain_says_how_far_it_is() -> None:
    drain = Admission(RelaySettings()).drain
    with drain.covering(Connection()):
        assert repr(drain) == "<Drain open=1 started=False>"
