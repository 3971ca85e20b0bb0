"""Keeps a running stack whole: notices processes that ended by themselves and starts them again."""

import time
from collections.abc import Callable, Iterable

from bff_tools.processes import Child, StartError
from bff_tools.supervise import BACKEND_DELAY_S, FIRST_DELAY_S, Restarts


class Keeper:
    """Looks after the children that are meant to run; `look` is called again and again and never waits."""

    def __init__(
        self, children: Iterable[Child], say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._watched = [
            (child, Restarts(BACKEND_DELAY_S if child.name == "backend" else FIRST_DELAY_S)) for child in children
        ]
        for _, restarts in self._watched:
            restarts.started(clock())

    def look(self) -> None:
        """Notice who ended, and start again whose time has come."""
        for child, restarts in self._watched:
            if not child.wanted or child.pid:
                continue
            if restarts.due_at is None:
                self._ended(child, restarts)
            elif restarts.due(self._clock()):
                self._start(child, restarts)

    def _ended(self, child: Child, restarts: Restarts) -> None:
        delay = restarts.ended(self._clock())
        if delay is None:
            self._say(f"{child.name} ended again and is left alone now; its log is {child.log}")
            child.wanted = False
        else:
            self._say(f"{child.name} ended with {child.fate}; starting it again in {delay:g} s")

    def _start(self, child: Child, restarts: Restarts) -> None:
        restarts.started(self._clock())
        try:
            child.start()
        except StartError as error:
            self._say(str(error))
