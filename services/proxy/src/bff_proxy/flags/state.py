"""The flags of this process: what the file says, what lies over it, and who wants to hear of changes. Pure."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from bff_proxy.flags.definitions import Definitions, parse
from bff_proxy.flags.overrides import Change
from bff_proxy.flags.rules import BadDefinition
from bff_proxy.flags.snapshot import FlagSet, nothing_defined

Hears = Callable[[Sequence[str]], None]
"""Called with the keys that changed; must not wait."""

log = logging.getLogger(__name__)


class FlagBoard:
    """Holds the current FlagSet in `now`; `problem` says why the newest definitions are not in it, or is empty."""

    def __init__(self) -> None:
        self.now: FlagSet = nothing_defined()
        self.problem = ""
        self._hears: set[Hears] = set()

    def define(self, data: bytes) -> None:
        """Take new definitions; bad ones are refused and the last good ones stay."""
        self.take(lambda: parse(data))

    def take(self, make: Callable[[], Definitions]) -> None:
        """Take the definitions that a call returns; if it raises, they are refused and the last good ones stay."""
        try:
            self._become(make(), self.now.changes)
        except BadDefinition as error:
            self.refuse(str(error))
        except Exception:  # a defect of ours or of the library's must not end the task that reads the file
            log.exception("flag definitions cannot be used")
            self.refuse("the definitions cannot be used")
        else:
            self.problem = ""

    def refuse(self, problem: str) -> None:
        """Note that the definitions cannot be had, or used."""
        if problem != self.problem:
            log.error("flag definitions refused; the last good ones stay", extra={"problem": problem})
        self.problem = problem

    def change(self, changes: Mapping[str, Change]) -> None:
        """Take what lies over the definitions, in place of what did; what cannot be evaluated is refused."""
        try:
            self._become(self.now.definitions, changes)
        except BadDefinition as error:
            self.refuse(str(error))

    @contextlib.contextmanager
    def heard(self, hears: Hears) -> Iterator[None]:
        """Call `hears` after each change for as long as the block lasts."""
        self._hears.add(hears)
        try:
            yield
        finally:
            self._hears.discard(hears)

    def _become(self, definitions: Definitions, changes: Mapping[str, Change]) -> None:
        before, after = self.now, FlagSet(definitions, changes)
        keys = after.differences(before)
        if not keys and after.revision == before.revision:
            return
        self.now = after
        log.info("flags changed", extra={"flags": keys, "revision": self.now.revision})
        for hears in list(self._hears):
            hears(keys)
