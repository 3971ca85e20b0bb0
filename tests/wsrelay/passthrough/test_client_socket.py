"""A client that takes nothing any more, or whose connection is closed already, is gone and holds nobody up."""

import asyncio
from typing import Any

import pytest

from bff_wsrelay.passthrough import client_socket
from bff_wsrelay.passthrough.client_socket import ClientGone, ClientSocket
from bff_wsrelay.websocket.server import WRITER_EXTENSION


class Writer:
    """A transport that is full for good."""

    is_paused, is_open = True, True

    async def drain(self) -> None:
        await asyncio.Event().wait()


async def nothing(*_: Any) -> Any:
    await asyncio.Event().wait()


async def closed(_: Any) -> None:
    raise RuntimeError("Unexpected ASGI message 'websocket.accept'")


def socket_of(send: Any) -> ClientSocket:
    return ClientSocket({"extensions": {WRITER_EXTENSION: Writer()}}, nothing, send)


async def test_a_client_that_takes_nothing_for_too_long_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_socket, "STALLED_SECONDS", 0.01)
    with pytest.raises(ClientGone):
        await socket_of(nothing).send(["a message"])
    with pytest.raises(ClientGone):
        await socket_of(nothing).accept(None, [])


async def test_a_client_whose_connection_is_closed_already_is_gone() -> None:
    client = socket_of(closed)
    with pytest.raises(ClientGone):
        await client.accept(None, [])
    assert client.is_answered
    assert not client.is_accepted
