"""Connections to Redis: a command that is given up ends wherever it has come to, and TLS is what the URL says."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bff_shared.redis import FAILURES, connect
from tests.support import redis_server

STEPS = 80
"""Turns of the event loop after which a command has been sent and waits for its answer."""


async def test_command_that_is_given_up_ends_at_whatever_it_is_doing() -> None:
    with redis_server.running() as server:
        client = await connect(server.url, connections=2, deadline=5)
        server.freeze()
        try:
            for steps in range(STEPS):
                command = asyncio.ensure_future(client.ping())
                for _ in range(steps):
                    await asyncio.sleep(0)
                command.cancel()
                await asyncio.wait((command,), timeout=1)
                assert command.cancelled(), f"after {steps} turns it went on"
        finally:
            server.thaw()
            await client.aclose()


@asynccontextmanager
async def behind_tls(port: int, folder: Path) -> AsyncIterator[int]:
    """Stand before a server that knows no TLS, with a certificate for localhost; yield the port."""
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "ca.crt")]
    subprocess.run(made, check=True, capture_output=True, timeout=60)  # noqa: ASYNC221,S603  before anything runs
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "tls.key")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_the_url_names_who_vouches_for_redis(tmp_path: Path) -> None:
    with redis_server.running() as server:
        async with behind_tls(server.port, tmp_path) as port:
            client = await connect(
                f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/ca.crt", connections=2, deadline=20
            )
            assert await client.set("k", "v")
            assert await client.get("k") == b"v"
            await client.aclose()
            with pytest.raises(FAILURES):
                await connect(f"rediss://localhost:{port}/0", connections=2, deadline=20)
