"""Forward a request: its body to the backend and the response's to the client, as they come, with backpressure."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from bff_proxy.forwarding import redaction
from bff_proxy.forwarding.headers import body_length, request_head, response_head
from bff_proxy.forwarding.http_server import TARGET
from bff_proxy.forwarding.metrics import ForwardingMetrics
from bff_proxy.forwarding.request_body import BodyLimits, ClientGone, RequestBody
from bff_proxy.forwarding.routing import route
from bff_proxy.settings import ProxySettings
from bff_shared.errors import BffError, MethodNotAllowed, PayloadTooLarge
from bff_shared.http.context import current, upstream_headers
from bff_shared.http.headers import get
from bff_shared.upstream.client import SAFE, Call, Kind, Upstream

REFUSED = frozenset(("TRACE", "CONNECT"))
ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
log = logging.getLogger(__name__)


class Forwarder:
    """The ASGI app behind every HTTP path that no other route takes."""

    def __init__(self, upstream: Upstream, settings: ProxySettings, metrics: ForwardingMetrics) -> None:
        self._upstream, self._settings, self._metrics = upstream, settings, metrics
        self._origin = settings.backend_url.encode()
        self._limits = BodyLimits(
            settings.max_body_bytes, settings.body_min_rate_bytes, settings.body_grace_seconds, settings.body_seconds
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request; raises BffError while no byte of a response went out."""
        call = self._call(scope, receive)
        body = call.body if isinstance(call.body, RequestBody) else None
        outcome = "cancelled"
        try:
            outcome = await _while_client_listens(self._forward(call, scope, send), receive, body)
        except BffError as error:
            outcome = error.code.lower()
            raise
        except ClientGone:
            outcome = "client_gone"
        finally:
            self._end(outcome, body)

    def _call(self, scope: Scope, receive: Receive) -> Call:
        """Return the call that a request amounts to; raise before anything of it is sent."""
        method, headers, settings = scope["method"], scope["headers"], self._settings
        if method in REFUSED:
            raise MethodNotAllowed("this method is not forwarded", ALLOWED)
        to = route(scope[TARGET], settings.proxy_prefixes)
        if context := current():
            context.route = to.template
        length = body_length(headers)
        if settings.max_body_bytes and length is not None and length > settings.max_body_bytes:
            limit = settings.max_body_bytes
            raise PayloadTooLarge(f"the body is larger than {limit} bytes", {"limit_bytes": limit})
        peer = scope["client"][0] if scope.get("client") else None
        head = request_head(headers, upstream_headers(), peer, scope["scheme"], settings.trusted_proxies)
        keep = redaction.SHOWN_BYTES + 1 if log.isEnabledFor(logging.DEBUG) else 0
        body = None if length == 0 else RequestBody(receive, self._limits, keep)
        # What changes something may fail by itself while reading goes on, and the other way round.
        circuit = f"{'read' if method in SAFE else 'write'} {to.template}"
        kind = Kind.STREAM if to.is_stream else Kind.SHORT
        return Call(method, to.target, head, body, replay=method in settings.retry_methods, circuit=circuit, kind=kind)

    async def _forward(self, call: Call, scope: Scope, send: Send) -> str:
        """Make the call and pass its response on; return how it ended.

        Where the backend breaks off in the body, the response is left unfinished, so that the server breaks the
        client's connection off too.
        """
        await _gather(call, body_length(scope["headers"]))
        response = await self._upstream.open(call)
        status, headers = response.status_code, response_head(response.headers.raw, self._origin)
        _debug(call, status, headers)
        if status == httpx.codes.NOT_MODIFIED:
            # RFC 9110 section 8.6: a 304 may tell the length of what it does not send; uvicorn knows this of HEAD only.
            scope["method"] = "HEAD"
        keep, start = redaction.SHOWN_BYTES + 1 if log.isEnabledFor(logging.DEBUG) else 0, b""
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            async for part in response.stream:  # type: ignore[union-attr]  # a transport's stream is always async
                self._metrics.response_bytes.inc(len(part))
                if len(start) < keep:
                    start += part[: keep - len(start)]
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except BffError as error:
            log.warning("the response broke off", extra={"code": error.code, "reason": error.message})
            return "broke_off"
        finally:
            await response.aclose()
            if start:
                log.debug("response body", extra={"body": redaction.text(start)})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return "ok"

    def _end(self, outcome: str, body: RequestBody | None) -> None:
        self._metrics.exchanges.labels(outcome).inc()
        if context := current():
            context.log["outcome"] = outcome
            if body is not None:
                context.log["request_bytes"] = body.size
        if body is not None:
            self._metrics.request_bytes.inc(body.size)
            if body.start:
                log.debug("request body", extra={"body": redaction.text(body.start)})


async def _gather(call: Call, announced: int | None) -> None:
    """Have as much of the body here as a place at the backend is taken for.

    A client that waits for 100 (Continue) is not slow: whether its body is wanted is for the backend to say.
    """
    body = call.body
    if not isinstance(body, RequestBody):
        return
    expects_continue = get(call.headers, b"expect") is not None
    whole = None if expects_continue else await body.gather(announced)
    if whole is not None:
        call.body = httpx.ByteStream(whole)
        return
    call.uploaded = body.ended.is_set
    if call.kind is Kind.SHORT:
        call.kind = Kind.UPLOAD


async def _while_client_listens(work: Awaitable[str], receive: Receive, body: RequestBody | None) -> str:
    """Run a request until it is over or the client goes away; raise ClientGone then, its connection freed."""
    task = asyncio.current_task()
    over = False

    async def watch() -> None:
        if body is not None:
            await body.ended.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        if task is not None and not over:
            task.cancel(_GONE)

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError as error:
        if task is None or error.args[:1] != (_GONE,):
            raise
        task.uncancel()
        raise ClientGone from error
    finally:
        over = True
        watcher.cancel()


_GONE = "the client went away"


def _debug(call: Call, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    if log.isEnabledFor(logging.DEBUG):
        heads: dict[str, Any] = {
            "target": redaction.text(call.target),
            "request_headers": redaction.headers(call.headers),
        }
        log.debug(
            "request forwarded", extra={**heads, "status": status, "response_headers": redaction.headers(headers)}
        )
