"""Say to a whole stack what no client should: `python -m tests.fuzz.wire http|websocket SEED`.

Whatever was said, every answer is one that is allowed and tells nothing of the inside, no hidden request reaches the
backend, no process ends, none logs an exception that nobody caught, and no stream stays open.
"""

import random
import sys
import time
from collections.abc import Callable, Mapping

import httpx

from tests.chaos.hostile.attacks import garbled
from tests.chaos.hostile.clients import Told, fuzz, send_attacks
from tests.chaos.world import ADMIN_TOKEN, World, world

BATCHES = 12
REQUESTS, CLIENTS = 120, 20
GONE_S = 30.0
UNCAUGHT = "Traceback"
SERVICES = ("proxy", "aggregator", "wsrelay")


def say_http(whole: World, seed: int, told: Told) -> None:
    """Send good requests with some bytes changed."""
    send_attacks(whole, garbled(seed, REQUESTS), told)


def say_websocket(whole: World, seed: int, told: Told) -> None:
    """Say made-up frames to both kinds of stream."""
    fuzz(whole, CLIENTS, told, seed)


KINDS: Mapping[str, Callable[[World, int, Told], None]] = {"http": say_http, "websocket": say_websocket}


def search(kind: str, seed: int) -> list[str]:
    """Say so many batches of a kind to one stack, and return what is wrong; it ends with the first batch that is."""
    draw, told = random.Random(seed), Told()  # noqa: S311  the same for the same seed
    with world() as whole:
        before = whole.pids()
        for number in range(BATCHES):
            KINDS[kind](whole, draw.randrange(2**31), told)
            wrong = [*told.wrong, *_left_open(whole), *_uncaught(whole)]
            if whole.pids() != before:
                wrong.append(f"processes were {before}, are {whole.pids()}")
            if wrong:
                return [f"batch {number} of {BATCHES}:", *wrong]
    print(f"{told.sent:,} sent, answered {dict(told.answers.most_common())}")
    return []


def _left_open(whole: World) -> list[str]:
    """Wait until no stream is open any more."""
    until, found = time.monotonic() + GONE_S, {}
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    while time.monotonic() < until:
        found = httpx.get(f"{whole.stack.origin}/api/v1/streams", headers=headers, timeout=GONE_S).json()
        if found["viewers"] == found["connections"] == 0 and not found["passthrough"]:
            return []
        time.sleep(0.1)
    return [f"streams are left: {found}"]


def _uncaught(whole: World) -> list[str]:
    lines = ((name, line) for name in SERVICES for line in whole.stack[name].log_text().splitlines())
    return [f"{name} logged {line[-3000:]}" for name, line in lines if UNCAUGHT in line][:3]


def main() -> int:
    """Search as the command line says; returns 1 if anything is wrong."""
    wrong = search(sys.argv[1], int(sys.argv[2]))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
