"""The flags of this process: the definitions, the overrides, and who subscribes to changes. Pure."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from bff_proxy.flags.definitions import Definitions, parse
from bff_proxy.flags.evaluation import FlagSet, nothing_defined
from bff_proxy.flags.overrides import Change
from bff_proxy.flags.rules import BadDefinition

Callback = Callable[[Sequence[str]], None]
"""Called with the keys that changed; must not wait."""

log = logging.getLogger(__name__)


class FlagStore:
    """Holds the current FlagSet; `problem` says why the newest definitions are not in it, or is empty."""

    def __init__(self) -> None:
        self.current: FlagSet = nothing_defined()
        self.problem = ""
        self._subscribers: set[Callback] = set()

    def __repr__(self) -> str:
        """Say which revision it has, how many overrides and subscribers, and what is wrong with newer definitions."""
        counts = f"flags={len(self.current.flags)} overrides={len(self.current.changes)}"
        about = f"{counts} subscribers={len(self._subscribers)} problem={self.problem!r}"
        return f"<FlagStore {self.current.revision} {about}>"

    def set_definitions(self, data: bytes) -> None:
        """Replace the definitions; bad ones are refused and the last good ones stay."""
        self.load(lambda: parse(data))

    def load(self, make: Callable[[], Definitions]) -> None:
        """Replace the definitions by what a call returns; if it raises, the last good ones stay."""
        try:
            self._replace(make(), self.current.changes)
        except BadDefinition as error:
            self.reject(str(error))
        except Exception:  # a defect of ours or of the library's must not end the task that reads the file
            log.exception("flag definitions cannot be used")
            self.reject("the definitions cannot be used")
        else:
            self.problem = ""

    def reject(self, problem: str) -> None:
        """Note that the newest definitions cannot be read, or used."""
        if problem != self.problem:
            log.error("flag definitions refused; the last good ones stay", extra={"problem": problem})
        self.problem = problem

    def set_overrides(self, changes: Mapping[str, Change]) -> None:
        """Replace the overrides; where they cannot be evaluated, the last good ones stay."""
        try:
            self._replace(self.current.definitions, changes)
        except BadDefinition as error:
            self.reject(str(error))

    @contextlib.contextmanager
    def subscribe(self, callback: Callback) -> Iterator[None]:
        """Publish each change to `callback` for as long as the block lasts."""
        self._subscribers.add(callback)
        try:
            yield
        finally:
            self._subscribers.discard(callback)

    def _replace(self, definitions: Definitions, changes: Mapping[str, Change]) -> None:
        before, after = self.current, FlagSet(definitions, changes)
        keys = after.differences(before)
        if not keys and after.revision == before.revision:
            return
        self.current = after
        log.info("flags changed", extra={"flags": keys, "revision": after.revision})
        for publish in list(self._subscribers):
            publish(keys)
