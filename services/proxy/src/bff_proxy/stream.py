"""One exchange: the request's body to the backend and the answer's to the client, as they come, with backpressure."""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
from starlette.types import Receive, Scope, Send

from bff_proxy import exchange, routes
from bff_proxy.settings import ProxySettings
from bff_shared.context import current, upstream_headers
from bff_shared.errors import BffError, MethodNotAllowed, PayloadTooLarge
from bff_shared.upstream import Call, Upstream

REFUSED = frozenset(("TRACE", "CONNECT"))
log = logging.getLogger(__name__)


class Forward:
    """The ASGI app behind every path that no other route takes."""

    def __init__(self, upstream: Upstream, settings: ProxySettings) -> None:
        self._upstream, self._settings = upstream, settings
        self._origin = settings.backend_url.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request; raises BffError while no byte of an answer went out."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4404})
            return
        call, body = self._call(scope, receive)
        watch = asyncio.create_task(_gone(receive, body, asyncio.current_task()))
        try:
            response = await self._upstream.open(call)
            await self._answer(response, send)
        except asyncio.CancelledError:
            if not watch.done() or watch.cancelled():
                raise
            _note("client_gone")
        finally:
            watch.cancel()

    def _call(self, scope: Scope, receive: Receive) -> tuple[Call, "RequestBody | None"]:
        """Return the call that a request amounts to."""
        prefixes, headers = self._settings.proxy_prefixes, scope["headers"]
        if context := current():
            context.route = routes.template(scope["raw_path"], prefixes)
        if scope["method"] in REFUSED:
            raise MethodNotAllowed("this method is not forwarded")
        target = routes.target(scope["raw_path"], scope["query_string"], prefixes)
        peer = scope["client"][0] if scope.get("client") else None
        head = exchange.request_head(headers, upstream_headers(), peer, scope["scheme"], self._settings.trusted_proxies)
        body = RequestBody(receive, self._settings.max_body_bytes) if exchange.has_body(headers) else None
        return Call(scope["method"], target, head, body), body

    async def _answer(self, response: httpx.Response, send: Send) -> None:
        """Pass the answer on; where the backend breaks off in its body, the client's connection breaks off too."""
        headers = exchange.answer_head(response.headers.raw, self._origin)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        try:
            async for part in response.stream:  # type: ignore[union-attr]  # a carrier's stream is always async
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except BffError as error:
            _note("broke_off")
            log.warning("the backend broke off in the middle of a body", extra={"code": error.code})
            return
        finally:
            await response.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class RequestBody(httpx.AsyncByteStream):
    """The request's body, read from the client no faster than the backend takes it."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self.ended = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts; raise PayloadTooLarge past the limit."""
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.ended.set()
                raise httpx.WriteError("the client went away while it sent the body")
            part = message.get("body", b"")
            size += len(part)
            if self._limit and size > self._limit:
                raise PayloadTooLarge(f"the body is larger than {self._limit} bytes")
            if part:
                yield part
            if not message.get("more_body", False):
                self.ended.set()
                return


async def _gone(receive: Receive, body: RequestBody | None, task: "asyncio.Task[None] | None") -> None:
    """Wait until the client goes away, then cancel the exchange so that its backend connection is freed."""
    if body is not None:
        await body.ended.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()


def _note(outcome: str) -> None:
    if context := current():
        context.log["outcome"] = outcome
