"""`python -m bff_wsrelay` runs the relay."""

from bff_shared.serve import run
from bff_wsrelay.app import create_app
from bff_wsrelay.settings import RelaySettings

if __name__ == "__main__":
    run(RelaySettings, "bff_wsrelay.app", create_app)
