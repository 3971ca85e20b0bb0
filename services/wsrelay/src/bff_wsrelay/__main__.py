"""`python -m bff_wsrelay` runs the relay."""

import gc

from fastapi import FastAPI

from bff_shared.serve import run
from bff_wsrelay.app import create_app
from bff_wsrelay.settings import RelaySettings

COLLECT_AFTER = (5_000, 10, 2)
"""Thresholds of the collector. Playing makes no cycles, so it need not look for them every few frames; a connection
that ends leaves some, of about a hundred objects, so a full round comes with each thousand or so of them."""


def create_calm_app(settings: RelaySettings) -> FastAPI:
    """Create the app and freeze long-lived objects, so that garbage collection does not stall playback."""
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    return app


if __name__ == "__main__":
    run(RelaySettings, "bff_wsrelay.app", create_calm_app)
