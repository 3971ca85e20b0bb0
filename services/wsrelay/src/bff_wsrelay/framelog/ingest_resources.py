"""What all ingesters of a process share."""

from dataclasses import dataclass

from bff_shared.access.gate import AccessGate
from bff_shared.upstream.client import Upstream
from bff_wsrelay.framelog.fair_semaphore import FairSemaphore
from bff_wsrelay.framelog.shared_store import SharedStore
from bff_wsrelay.metrics import StreamCounts
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.connector import Connector


@dataclass(frozen=True, slots=True)
class IngestResources:
    """What all ingesters of a process share.

    Attributes:
        slots, ahead: bound how many runs are begun at once, and read at once beyond what their viewers need soon.
        turns: whose frames are taken next: one ingester's at a time, so that the event loop is never busy for longer
            than one slice, and each client address gets as much done as another.
    """

    settings: RelaySettings
    upstream: Upstream
    connector: Connector
    counts: StreamCounts
    slots: FairSemaphore
    ahead: FairSemaphore
    turns: FairSemaphore
    gate: AccessGate
    store: SharedStore | None = None
