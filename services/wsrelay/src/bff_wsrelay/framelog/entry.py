"""A topic with what the registry keeps about it: who watches it, and with whose credentials it is read."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from bff_shared.access.credentials import Reader
from bff_wsrelay.framelog.failure_cache import Key
from bff_wsrelay.framelog.failures import REFUSALS, FailureReason
from bff_wsrelay.framelog.ingester import Ingester
from bff_wsrelay.framelog.topic import Topic


@dataclass(slots=True, eq=False)
class Entry:
    """A topic with what the registry keeps about it. One without a reader stands for a run that failed recently."""

    key: Key
    topic: Topic
    reader: Reader | None = None
    """With whose credentials the run is read."""
    readers: Counter[Reader] = field(default_factory=Counter)
    """Who watches it, and how often."""
    refused: dict[str, FailureReason] = field(default_factory=dict)
    """Why the backend refused whose credentials, of those who watch it, while others went on."""
    ingester: Ingester | None = None
    task: asyncio.Task[None] | None = None
    checking: asyncio.Task[bool] | None = None
    viewers: Counter[str] = field(default_factory=Counter)
    """How many there are from each client address."""
    client: str = ""
    """The address that ingesting counts for, and the log's bytes while nobody watches."""
    since: float = 0.0
    booked_bytes: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def failure_key(self) -> Key:
        """Whose failure the topic's is: a refusal is the reader's own, another one that of all who share it."""
        failure = self.topic.failure
        is_own = failure is not None and failure.code in REFUSALS and self.reader is not None
        return (self.key[0], self.reader.credential) if is_own and self.reader else self.key

    def join(self, reader: Reader, client: str) -> None:
        """Count a viewer."""
        self.readers[reader] += 1
        self.viewers[client] += 1

    def leave(self, reader: Reader, client: str) -> None:
        """Count a viewer no longer."""
        self.readers[reader] -= 1
        if not self.readers[reader]:
            del self.readers[reader]
            self.refused.pop(reader.credential, None)
        self.viewers[client] -= 1
        if not self.viewers[client]:
            del self.viewers[client]

    def pass_on(self, reader: Reader, reason: FailureReason) -> bool:
        """Have the run read for another of those who watch, as the backend refuses a reader; false if it is alone."""
        others = [other for other in self.readers if other != reader and other.credential not in self.refused]
        if others:
            self.reader = others[0]
            if reader in self.readers:
                self.refused[reader.credential] = reason
        return bool(others)
