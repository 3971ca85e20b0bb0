"""`GET /api/v1/streams`: what is being watched and read, without credentials or addresses.

All of it for whoever has the admin token; everybody else sees the streams and logs of the same credentials, for run
ids and positions say what others work on.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request

from bff_shared.admin_access import require_admin
from bff_shared.errors import NotFound, TooManyRequests, Unauthorized
from bff_shared.http.headers import credentials
from bff_shared.http.responses import JsonResponse
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.passthrough.endpoint import PassthroughEndpoint
from bff_wsrelay.playback.endpoint import PlaybackEndpoint
from bff_wsrelay.playback.subscriber import Subscriber

MOST = 1000
"""Streams that one response lists; the counts are of all."""


class _Status:
    """What the route responds with."""

    def __init__(
        self, playback: PlaybackEndpoint, registry: Registry, passthrough: PassthroughEndpoint, admission: Admission
    ) -> None:
        self._playback, self._registry, self._passthrough, self._admission = playback, registry, passthrough, admission

    def of(self, request: Request) -> dict[str, Any]:
        """Return everything for the admin token, else what is the caller's own.

        Credentials that are not the admin token are a guess at it for the service's gate, which may raise
        TooManyRequests; it does not where a stream is open with them, since then they are somebody's own.
        """
        try:
            require_admin(request)
        except (NotFound, Unauthorized):
            return self.own(request)
        except TooManyRequests:
            own = self.own(request)
            if not own["viewers"]:
                raise
            return own
        return self.everything()

    def everything(self) -> dict[str, Any]:
        """Return counts, each stream and each log of the process."""
        return {
            "viewers": len(self._playback.subscribers),
            "connections": self._admission.connections,
            "refused": self._admission.refused,
            "draining": self._admission.drain.started,
            **self._playback.flush(),
            "log_bytes": self._registry.size,
            "frame_logs": self._registry.describe(),
            "streams": _listed(self._playback.subscribers),
            "passthrough": [one.describe() for one in islice(self._passthrough.sessions, MOST)],
        }

    def own(self, request: Request) -> dict[str, Any]:
        """Return the streams of the caller's credentials, and the logs that those play."""
        owner = self._playback.principal(credentials(request.headers.raw))
        mine = [subscriber for subscriber in self._playback.subscribers if subscriber.principal == owner]
        played = {id(subscriber.topic) for subscriber in mine}
        return {"viewers": len(mine), "frame_logs": self._registry.describe(played), "streams": _listed(mine)}


def _listed(subscribers: Iterable[Subscriber]) -> list[dict[str, Any]]:
    return [each.describe() for each in sorted(subscribers, key=lambda subscriber: subscriber.opened)[:MOST]]


def make_router(
    playback: PlaybackEndpoint, registry: Registry, passthrough: PassthroughEndpoint, admission: Admission
) -> APIRouter:
    """Return the route."""
    router = APIRouter()
    status = _Status(playback, registry, passthrough, admission)

    @router.get("/api/v1/streams")
    async def streams(request: Request) -> JsonResponse:
        """Return each stream's position, lag, rate and balance, and each log's size and state.

        Those of the caller's credentials; with the admin token all of them, with the process's counts.
        """
        return JsonResponse(status.of(request), headers={"cache-control": "no-store"})

    return router
