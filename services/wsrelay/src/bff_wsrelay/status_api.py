"""`GET /api/v1/streams`: what is being watched and read, without credentials or addresses.

All of it for whoever has the admin token; everybody else sees the streams and logs of the same credentials, for run
ids and positions say what others work on.
"""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request

from bff_shared.admin import require_admin
from bff_shared.errors import BffError, TooManyRequests
from bff_shared.http.headers import credentials
from bff_shared.http.responses import JsonResponse
from bff_shared.limits import KeyedBuckets, client_address
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.framelog.registry import Shelf
from bff_wsrelay.passthrough.endpoint import Door
from bff_wsrelay.playback.endpoint import Playback
from bff_wsrelay.playback.subscriber import Spectator
from bff_wsrelay.settings import RelaySettings

MOST = 1000
"""Streams that one answer lists; the counts are of all."""

ASKED_PER_SECOND, ASKED_AT_ONCE = 20.0, 100.0
"""How often one client address may ask: more would be guesses at the token."""


class _Status:
    """The route's answers."""

    def __init__(
        self, settings: RelaySettings, playback: Playback, shelf: Shelf, door: Door, admission: Admission
    ) -> None:
        self._settings, self._playback, self._shelf, self._door, self._admission = (
            settings,
            playback,
            shelf,
            door,
            admission,
        )
        self._asked = KeyedBuckets(ASKED_PER_SECOND, ASKED_AT_ONCE)

    def require_patience(self, request: Request) -> None:
        """Raise TooManyRequests for a client that asks too often."""
        peer = request.client.host if request.client else None
        address = client_address(request.headers.raw, peer, self._settings.trusted_proxies)
        if not self._asked.take(address, now := time.monotonic()):
            raise TooManyRequests("too many requests for the streams", self._asked.wait(address, now))

    def is_admin(self, request: Request) -> bool:
        """Tell whether the request carries the admin token."""
        try:
            require_admin(request.headers.get("authorization", ""), self._settings.admin_token.get_secret_value())
        except BffError:
            return False
        return True

    def everything(self) -> dict[str, Any]:
        """Return counts, each stream and each log of the process."""
        return {
            "viewers": len(self._playback.spectators),
            "connections": self._admission.connections,
            "refused": self._admission.refused,
            "draining": self._admission.drain.started,
            **self._playback.flush(),
            "log_bytes": self._shelf.size,
            "recordings": self._shelf.figures(),
            "streams": _listed(self._playback.spectators),
            "transparent": [one.figures() for one in islice(self._door.conversations, MOST)],
        }

    def own(self, request: Request) -> dict[str, Any]:
        """Return the streams of the caller's credentials, and the logs that those play."""
        owner = self._playback.owner(credentials(request.headers.raw))
        mine = [spectator for spectator in self._playback.spectators if spectator.owner == owner]
        played = {id(spectator.recording) for spectator in mine}
        return {"viewers": len(mine), "recordings": self._shelf.figures(played), "streams": _listed(mine)}


def _listed(spectators: Iterable[Spectator]) -> list[dict[str, Any]]:
    return [each.figures() for each in sorted(spectators, key=lambda spectator: spectator.opened)[:MOST]]


def make_router(
    settings: RelaySettings, playback: Playback, shelf: Shelf, door: Door, admission: Admission
) -> APIRouter:
    """Return the route."""
    router = APIRouter()
    status = _Status(settings, playback, shelf, door, admission)

    @router.get("/api/v1/streams")
    async def streams(request: Request) -> JsonResponse:
        """Return each stream's position, lag, rate and balance, and each log's size and state.

        Those of the caller's credentials; with the admin token all of them, with the process's counts.
        """
        status.require_patience(request)
        body = status.everything() if status.is_admin(request) else status.own(request)
        return JsonResponse(body, headers={"cache-control": "no-store"})

    return router
