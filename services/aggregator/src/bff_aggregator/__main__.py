"""`python -m bff_aggregator` runs the aggregator."""

from bff_aggregator.app import create_app
from bff_aggregator.settings import AggregatorSettings
from bff_shared.serve import run

if __name__ == "__main__":
    run(AggregatorSettings, "bff_aggregator.app", create_app)
