"""Changes of flags made by people and by the rollback: stored, and logged with who, when, before and after."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from bff_proxy.flag_board import FlagBoard
from bff_proxy.flag_docs import FlagChange
from bff_proxy.flag_layers import Change
from bff_proxy.flag_metrics import FlagMetrics
from bff_proxy.flag_sync import FlagSync
from bff_proxy.flags import FlagSet
from bff_shared.errors import InvalidRequest, NotFound

log = logging.getLogger(__name__)
NAMELESS = "admin"
ROLLBACK = "rollback"
_NAME = re.compile(r"[\w .@+/-]{1,64}")


class FlagAdmin:
    """Makes changes; each method raises Busy where they cannot be stored."""

    def __init__(
        self, board: FlagBoard, sync: FlagSync, metrics: FlagMetrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._board, self._sync, self._metrics, self._clock = board, sync, metrics, clock

    async def put(self, key: str, body: bytes, by: str, client: str) -> None:
        """Change a flag as a request's body says; raises InvalidRequest and NotFound."""
        name = who(by)
        asked = parse_change(body)
        self._require(key)
        await self._make(key, Change(key, asked.value, asked.rollout, asked.reason, name, self._clock()), client)

    async def delete(self, key: str, by: str, client: str) -> None:
        """Give a flag back to the file; raises NotFound."""
        name = who(by)
        self._require(key)
        await self._make(key, None, client, name)

    async def roll_back(self, key: str, reason: str, expected: int) -> bool:
        """Turn a flag off unless it was changed since; tell whether this did it."""
        text = f"rollback: {reason}"
        change = Change(key, False, None, text, ROLLBACK, self._clock(), "rollback")
        before = _summary(self._board.now, key)
        if not await self._sync.write(key, change, expected):
            return False
        self._metrics.changes.labels(key, "rollback").inc()
        self._metrics.rollbacks.labels(key).inc()
        fields = {"flag": key, "by": ROLLBACK, "reason": text, "before": before, "after": {"value": False}}
        log.error("flag rolled back; it stays off until somebody turns it on", extra=fields)
        return True

    def _require(self, key: str) -> None:
        if key not in self._board.now.flags:
            raise NotFound("there is no such flag", {"known": sorted(self._board.now.flags)})

    async def _make(self, key: str, change: Change | None, client: str, by: str = "") -> None:
        before = _summary(self._board.now, key)
        await self._sync.write(key, change)
        after = _summary(self._board.now, key)
        self._metrics.changes.labels(key, "file" if change is None else "runtime").inc()
        fields: dict[str, Any] = {"flag": key, "by": by or (change.by if change else ""), "client": client}
        log.info("flag changed by request", extra={**fields, "before": before, "after": after})
        self._require(key)  # the file may have lost it meanwhile


def who(given: str) -> str:
    """Return who changes a flag, as an `X-Changed-By` header names them; raises InvalidRequest."""
    name = given.strip() or NAMELESS
    if not _NAME.fullmatch(name) or name.lower() == ROLLBACK:
        raise InvalidRequest("invalid: X-Changed-By", {"X-Changed-By": "1 to 64 letters, digits, spaces or _.@+/-"})
    return name


def parse_change(body: bytes) -> FlagChange:
    """Return the change that a body asks for; raises InvalidRequest, which names each bad field."""
    try:
        asked = FlagChange.model_validate_json(body or b"null")
    except ValidationError as error:
        fields = {".".join(map(str, e["loc"])) or "body": str(e["msg"]) for e in error.errors(include_url=False)}
        raise InvalidRequest(f"invalid: {', '.join(fields)}", fields) from error
    if (asked.value is None) == (asked.rollout is None):
        raise InvalidRequest("invalid: value, rollout", dict.fromkeys(("value", "rollout"), "give one of the two"))
    return asked


def _summary(flags: FlagSet, key: str) -> dict[str, Any]:
    flag, change = flags.flags.get(key), flags.changes.get(key)
    if flag is None:
        return {}
    made = {"by": change.by, "version": change.version} if change else {}
    return {"value": flag.default, "rollout": flag.rollout, "source": flags.source(key), "reason": flag.reason} | made
