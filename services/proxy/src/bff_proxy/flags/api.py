"""The routes of flags: for people and scripts, for pages that listen, and for OpenFeature's SDKs."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from bff_proxy.flags import ofrep
from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.evaluation import TARGETING_KEY, Evaluated
from bff_proxy.flags.events import EventFormat, FlagEvents, ofrep_event, own_event
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.schemas import FlagChange, FlagList, FlagsEvent, FlagState, listing, state
from bff_proxy.flags.store import FlagStore
from bff_proxy.flags.sync import FlagSync
from bff_shared.admin_access import require_admin
from bff_shared.errors import PayloadTooLarge
from bff_shared.http.headers import forwarded
from bff_shared.http.responses import JSON, JsonResponse
from bff_shared.settings import Network

PATH = "/api/v1/flags"
OFREP = "/ofrep/v1/evaluate/flags"
MOST_BYTES = 64 * 1024
REVALIDATE = "private, no-cache"
BODY: Mapping[str, Any] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": FlagChange.model_json_schema()}}}
}

CHANGE_FAILS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The admin token is missing or wrong"},
    429: {"description": "Too many wrong admin tokens; Retry-After says when to try again"},
    404: {"description": "There is no such flag, or no admin token is configured"},
    413: {"description": "The body is larger than 64 KiB"},
    503: {"description": "The change is not in effect and will not be, or (OUTCOME_UNKNOWN) Redis did not confirm it"},
}
LIST_FAILS: dict[int | str, dict[str, Any]] = {status: CHANGE_FAILS[status] for status in (401, 404, 429)}
EVALUATION_FAILS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is no evaluation context"},
    413: {"description": "The body is larger than 64 KiB"},
}
ONE_FAILS: dict[int | str, dict[str, Any]] = {
    **EVALUATION_FAILS,
    404: {"description": "There is no such flag"},
    500: {"description": "The flag's rule cannot be evaluated"},
}
TargetingKey = Annotated[str, Query(alias=TARGETING_KEY, max_length=ofrep.MOST_KEY, description="user or browser")]
Details = Annotated[bool, Query(description="say who changed what, too; needs the admin token")]
ChangedBy = Annotated[str, Header(alias="X-Changed-By", description="who asks for the change; shown and logged")]
Revision = Annotated[str, Query(alias="flagConfigEtag", max_length=64, description="revision that an event named")]


def is_path(path: str) -> bool:
    """EventFormat whether a path is one of flags, known or not: none of them is the backend's."""
    return path == PATH or path.startswith((f"{PATH}/", "/ofrep/"))


class EventStream(Response):
    """An answer that goes on until the listener leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: FlagEvents, encode: EventFormat, initial: bool) -> None:
        super().__init__()
        self._events, self._encode, self._initial = events, encode, initial

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream as an ASGI application."""
        await self._events.serve(scope, receive, send, self._encode, self._initial)


class Evaluator:
    """Evaluates and counts."""

    def __init__(self, flag_store: FlagStore, sync: FlagSync, metrics: FlagMetrics) -> None:
        self._flag_store, self._sync, self._metrics = flag_store, sync, metrics

    def one(self, key: str, context: Mapping[str, Any]) -> Evaluated:
        """Return one flag; raises KeyError."""
        found = self._flag_store.current.evaluate(key, context)
        self._metrics.evaluated(found)
        return found

    def all(self, context: Mapping[str, Any]) -> list[Evaluated]:
        """Return all flags, in the order of the file."""
        return [self.one(key, context) for key in self._flag_store.current.flags]

    async def catch_up(self, revision: str) -> None:
        """Look for changes if a client knows of a revision, from another replica, that this one does not have yet."""
        if revision and revision.strip('"') != self._flag_store.current.revision:
            await self._sync.refresh()

    async def answer(self, request: Request, make: Callable[[], object]) -> Response:
        """Return an answer with an entity tag, or 304 where the client has that one already."""
        condition, flags = request.headers.get("if-none-match"), self._flag_store.current
        body = orjson.dumps(make())
        if ofrep.is_known(condition, ofrep.etag(body)):
            await self._sync.confirm()
            body = body if self._flag_store.current is flags else orjson.dumps(make())
        headers = {"etag": ofrep.etag(body), "cache-control": REVALIDATE}
        if ofrep.is_known(condition, headers["etag"]):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=JSON)


def make_router(
    flag_store: FlagStore,
    events: FlagEvents,
    evaluator: Evaluator,
    admin: FlagAdmin,
    trusted: tuple[Network, ...],
) -> APIRouter:
    """Return the routes under `/api/v1/flags`."""
    router = APIRouter(tags=["flags"])

    @router.get(PATH, response_model=FlagList, responses=LIST_FAILS)
    async def flags(request: Request, targeting_key: TargetingKey = "", *, details: Details = False) -> Response:
        """Return all flags: as they are for a targeting key, and where that comes from."""
        context = {TARGETING_KEY: targeting_key}
        if details:
            require_admin(request)
            body = listing(flag_store.current, evaluator.all(context), details=True)
            return JsonResponse(body, headers={"cache-control": "no-store"})
        return await evaluator.answer(request, lambda: listing(flag_store.current, evaluator.all(context)))

    @router.get(f"{PATH}/events", responses={200: {"model": FlagsEvent, "content": {"text/event-stream": {}}}})
    async def changes() -> Response:
        """Stream an event `flags` at once and after each change; a comment now and then shows that it lives."""
        return EventStream(events, own_event, initial=True)

    @router.put(f"{PATH}/{{key}}", response_model=FlagState, responses=CHANGE_FAILS, openapi_extra=dict(BODY))
    async def put(request: Request, key: str, changed_by: ChangedBy = "") -> Response:
        """Change a flag on every replica; it holds until the next change, restarts included."""
        require_admin(request)
        await admin.put(key, await _body(request), changed_by, _client(request, trusted))
        return JsonResponse(
            state(flag_store.current, flag_store.current.evaluate(key, {}), details=True),
            headers={"cache-control": "no-store"},
        )

    @router.delete(f"{PATH}/{{key}}", response_model=FlagState, responses=CHANGE_FAILS)
    async def delete(request: Request, key: str, changed_by: ChangedBy = "") -> Response:
        """Give a flag back to the file."""
        require_admin(request)
        await admin.delete(key, changed_by, _client(request, trusted))
        return JsonResponse(
            state(flag_store.current, flag_store.current.evaluate(key, {}), details=True),
            headers={"cache-control": "no-store"},
        )

    router.add_api_route(f"{PATH}/events", changes, methods=["HEAD"], include_in_schema=False)
    return router


def make_ofrep_router(flag_store: FlagStore, events: FlagEvents, evaluator: Evaluator) -> APIRouter:
    """Return the routes of the OpenFeature Remote Evaluation Protocol."""
    router = APIRouter(tags=["OFREP"])

    @router.post(OFREP, responses=EVALUATION_FAILS)
    async def bulk(request: Request, revision: Revision = "") -> Response:
        """Evaluate all flags; `If-None-Match` is answered with 304 where nothing changed."""
        body = await _body(request)
        await evaluator.catch_up(revision)
        try:
            context = ofrep.context_of(body, flag_store.current.definitions.attributes)
        except ofrep.BadEvaluation as error:
            return JsonResponse(error.body, 400)
        return await evaluator.answer(request, lambda: ofrep.bulk(flag_store.current, evaluator.all(context)))

    @router.post(f"{OFREP}/{{key}}", responses=ONE_FAILS)
    async def single(request: Request, key: str, revision: Revision = "") -> Response:
        """Evaluate one flag."""
        given = await _body(request)
        await evaluator.catch_up(revision)
        try:
            context = ofrep.context_of(given, flag_store.current.definitions.attributes)
        except ofrep.BadEvaluation as error:
            return JsonResponse({"key": key, **error.body}, 400)
        if key not in flag_store.current.flags:
            return JsonResponse(ofrep.not_found(key), 404)
        body = ofrep.single(flag_store.current, evaluator.one(key, context))
        return JsonResponse(body, 500 if "errorCode" in body else 200, headers={"cache-control": "no-store"})

    @router.get(ofrep.EVENTS)
    async def changes() -> Response:
        """Stream a `refetchEvaluation` event after each change."""
        return EventStream(events, ofrep_event, initial=False)

    router.add_api_route(ofrep.EVENTS, changes, methods=["HEAD"], include_in_schema=False)
    return router


async def _body(request: Request) -> bytes:
    """Return a request's body; raises PayloadTooLarge."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            limit = {"limit_bytes": MOST_BYTES}
            raise PayloadTooLarge(f"the body is larger than {MOST_BYTES} bytes", limit)
    return body


def _client(request: Request, trusted: tuple[Network, ...]) -> str:
    """Return the addresses that a request came through, for the log."""
    peer = request.client.host if request.client else None
    chain = forwarded(request.headers.raw, peer, "http", trusted)[0][1]
    return chain.decode("latin-1")[:200]
