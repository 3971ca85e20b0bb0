"""Changes of flags made by people and by the rollback: stored, and logged with who, when, before and after."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from bff_proxy.flags.evaluation import FlagSet
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.overrides import Change, Entry
from bff_proxy.flags.schemas import FlagChange
from bff_proxy.flags.store import FlagStore
from bff_proxy.flags.sync import FlagSync, OutcomeUnknown
from bff_shared.errors import InvalidRequest, NotFound

log = logging.getLogger(__name__)
NAMELESS = "admin"
ROLLBACK = "rollback"
_NAME = re.compile(r"[\w .@+/-]{1,64}")


class FlagAdmin:
    """Makes changes; each method raises NotChanged or OutcomeUnknown where they cannot be stored, or not for sure."""

    def __init__(
        self, flag_store: FlagStore, sync: FlagSync, metrics: FlagMetrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._flag_store, self._sync, self._metrics, self._clock = flag_store, sync, metrics, clock

    async def put(self, key: str, body: bytes, by: str, client: str) -> None:
        """Change a flag as a request's body says; raises InvalidRequest and NotFound."""
        name = who(by)
        asked = parse_change(body)
        self._require(key)
        change_id = _new_id()
        change = Change(key, asked.value, asked.rollout, asked.reason, name, self._clock(), id=change_id)
        await self._make(key, Entry(0, change, change_id), client, name)

    async def delete(self, key: str, by: str, client: str) -> None:
        """Give a flag back to the file; raises NotFound."""
        name = who(by)
        self._require(key)
        await self._make(key, Entry(0, None, _new_id()), client, name)

    async def roll_back(self, key: str, reason: str, expected: int) -> bool:
        """Turn a flag off unless it was changed since; tell whether this did it."""
        text = f"rollback: {reason}"
        change_id = _new_id()
        change = Change(key, False, None, text, ROLLBACK, self._clock(), "rollback", change_id)
        before = _summary(self._flag_store.current, key)
        if not await self._sync.write(key, Entry(0, change, change_id), expected):
            return False
        self._metrics.changes.labels(key, "rollback").inc()
        self._metrics.rollbacks.labels(key).inc()
        fields = {"flag": key, "by": ROLLBACK, "reason": text, "before": before, "after": {"value": False}}
        log.error("flag rolled back; it stays off until somebody turns it on", extra=fields)
        return True

    def _require(self, key: str) -> None:
        if key not in self._flag_store.current.flags:
            raise NotFound("there is no such flag", {"known": sorted(self._flag_store.current.flags)})

    async def _make(self, key: str, entry: Entry, client: str, by: str) -> None:
        before = _summary(self._flag_store.current, key)
        fields: dict[str, Any] = {"flag": key, "by": by, "client": client, "change_id": entry.id}
        try:
            await self._sync.write(key, entry)
        except OutcomeUnknown:
            log.warning("a change of a flag was not confirmed", extra={**fields, "before": before})
            raise
        after = _summary(self._flag_store.current, key)
        self._metrics.changes.labels(key, "file" if entry.change is None else "runtime").inc()
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


def _new_id() -> str:
    return secrets.token_hex(8)
