"""What goes wrong in trials: faults of the network between any two processes, and processes that misbehave."""

import os
import resource
import signal
import time
from pathlib import Path

import redis

from tests.chaos.faultproxy import Fault
from tests.chaos.trial import Disturbance, network
from tests.chaos.world import SERVICES, World, ask

FAULTS = {
    "latency": Fault(latency=0.2),
    "jitter": Fault(latency=0.01, jitter=0.2),
    "bandwidth": Fault(bandwidth=50_000),
    "cut": Fault(cut_after=600),
    "reset": Fault(reset_after=600),
    "black hole": Fault(black_hole=True),
    "slow close": Fault(slow_close=0.5),
}
PLACES = ("backend", "redis", "services", "browser")
NETWORK = [network(name, place, fault) for place in PLACES for name, fault in FAULTS.items()]

SERVED_S = 20.0
FULL = 1
"""Bytes of memory that a full Redis may use: less than it does."""


def _restart(name: str) -> Disturbance:
    def end(world: World) -> None:
        world.stack[name].start()
        world.stack[name].wait_ready()

    return Disturbance(f"{name} killed, started again", name, lambda world: world.stack[name].kill(), end, stays=False)


def _freeze(name: str) -> Disturbance:
    return Disturbance(
        f"{name} frozen",
        name,
        lambda world: world.stack[name].signal(signal.SIGSTOP),
        lambda world: world.stack[name].signal(signal.SIGCONT),
    )


def _limit(world: World, memory: int, policy: str) -> None:
    with redis.Redis(port=world.stack["redis"].port) as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", memory)


def _flush(world: World) -> None:
    with redis.Redis(port=world.stack["redis"].port) as client:
        client.flushall()


def _allow_files(world: World, size: int) -> None:
    """Limit what the services may append to their logs; beyond it a write fails, as on a full disk (Python ignores
    SIGXFSZ).
    """
    for child in world.stack:
        if child.pid and child.name.partition("-")[0] in SERVICES:
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _kill_worker(world: World) -> None:
    """End one of the aggregator's workers, which are children of its process."""
    parent = world.stack["aggregator"].pid
    assert parent is not None
    workers = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    assert len(workers) > 1, "the aggregator has several workers"
    os.kill(workers[0], signal.SIGKILL)


PROCESSES = [
    _restart("redis"),
    _freeze("redis"),
    Disturbance("redis full", "redis", lambda w: _limit(w, FULL, "noeviction"), lambda w: _limit(w, 0, "volatile-lru")),
    Disturbance("redis emptied", "redis", _flush),
    _restart("backend"),
    _freeze("backend"),
    Disturbance(
        "disk full for logs", "none", lambda w: _allow_files(w, 0), lambda w: _allow_files(w, resource.RLIM_INFINITY)
    ),
]
WORKER_KILLED = Disturbance("a worker killed", "services", _kill_worker)
NOTHING = Disturbance("nothing", "none", lambda _: None)


def _wait_until_served(world: World, service: str, name: str) -> None:
    """Wait until nginx, which leaves out for a second who has refused it, uses a process again."""
    until = time.monotonic() + SERVED_S
    world.served_by(name)
    while not world.served_by(name):
        assert time.monotonic() < until, f"{name} gets no requests"
        ask(f"{world.stack.origin}/api/v1/openapi/{service}.json")


def rolled(service: str) -> Disturbance:
    """Return the replacement of every process of a service, one after the other, as a deployment does it."""

    def begin(world: World) -> None:
        for child in [child for child in world.stack if child.name.partition("-")[0] == service]:
            child.stop()
            child.start()
            child.wait_ready()
            _wait_until_served(world, service, child.name)

    return Disturbance(f"{service} rolled", "rolled", begin, lambda _: None, stays=False)
