"""`python -m bff_wsrelay` runs the relay."""

import gc

from fastapi import FastAPI

from bff_shared.serve import run
from bff_wsrelay.app import create_app
from bff_wsrelay.settings import RelaySettings

COLLECT_AFTER = (20_000, 20, 100)
"""Thresholds of the collector: a full round stops all viewers for tens of ms, and their frames leave no cycles."""


def create_calm_app(settings: RelaySettings) -> FastAPI:
    """Return the relay, whose process is not held up by going through everything that lives as long as it does."""
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    return app


if __name__ == "__main__":
    run(RelaySettings, "bff_wsrelay.app", create_calm_app)
