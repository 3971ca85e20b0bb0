"""`GET /api/v1/streams`: what is being watched and read, without credentials or addresses."""

from itertools import islice
from typing import Any

from fastapi import APIRouter

from bff_shared.responses import JsonResponse
from bff_wsrelay.admission import Doors
from bff_wsrelay.door import Door
from bff_wsrelay.playback import Playback
from bff_wsrelay.shelf import Shelf

MOST = 1000
"""Streams that one answer lists; the counts are of all."""


def make_router(playback: Playback, shelf: Shelf, door: Door, doors: Doors) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.get("/api/v1/streams")
    async def streams() -> JsonResponse:
        """Return counts, each stream's position, lag, rate and balance, and each log's size and state."""
        totals = playback.flush()
        watched = sorted(playback.spectators, key=lambda spectator: spectator.opened)[:MOST]
        body: dict[str, Any] = {
            "viewers": len(playback.spectators),
            "connections": doors.count,
            "refused": doors.refused,
            "draining": doors.draining,
            **totals,
            "log_bytes": shelf.size,
            "recordings": shelf.figures(),
            "streams": [spectator.figures() for spectator in watched],
            "transparent": [one.figures() for one in islice(door.conversations, MOST)],
        }
        return JsonResponse(body)

    return router
