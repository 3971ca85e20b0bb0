"""The dashboard's panels and the questions that they put to Prometheus."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.observe.promtool import ROOT

GRAFANA = ROOT / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/bff.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$service": ".*", "$route": ".*", "$__rate_interval": "1m"}
YEAR = "from_date=2024-01-01&to_date=2024-12-31"
WELL = re.compile(
    r"coalesced|(?:responses|jobs|upstream)_refused_total|over_budget|stale_total|redis_errors|late_parts|part_retries|flag_changes|^ALERTS"
)
"""Questions that may have no answer while all is well: what they count has a label for each kind, and none has come."""


def expressions() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression
