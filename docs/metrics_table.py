"""Write the table of metrics into docs/observability.md from the code, or check it: `metrics_table.py [--check]`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from bff_aggregator.app import create_app as make_aggregator
from bff_aggregator.settings import AggregatorSettings
from bff_proxy.app import create_app as make_proxy
from bff_proxy.settings import ProxySettings
from bff_wsrelay.app import create_app as make_wsrelay
from bff_wsrelay.settings import RelaySettings

DOCUMENT = Path(__file__).parent / "observability.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->"


@dataclass(frozen=True)
class Entry:
    """A metric: its name as it is asked for, its type, its labels, its help text."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def entries() -> Iterator[tuple[str, Entry]]:
    """Yield every metric of every service, with the service's name."""
    apps = {
        "proxy": make_proxy(ProxySettings()),
        "aggregator": make_aggregator(AggregatorSettings()),
        "wsrelay": make_wsrelay(RelaySettings()),
    }
    for service, app in apps.items():
        for collector in app.state.service.metrics.registry.collectors:
            if isinstance(collector, MetricWrapperBase):
                (family,) = collector.describe()
                name = f"{family.name}_total" if family.type == "counter" else family.name
                yield service, Entry(name, family.type, tuple(collector._labelnames), family.documentation)


def table() -> str:
    """Return the table, sorted by name; `_bucket`, `_sum` and `_count` of a histogram share its row."""
    served: dict[Entry, list[str]] = {}
    for service, entry in entries():
        served.setdefault(entry, []).append(service)
    lines = ["| metric | type | labels | service | meaning |", "|---|---|---|---|---|"]
    for entry, services in sorted(served.items(), key=lambda item: item[0].name):
        labels = ", ".join(f"`{label}`" for label in entry.labels)
        where = "all" if len(services) == 3 else ", ".join(services)
        lines.append(f"| `{entry.name}` | {entry.kind} | {labels} | {where} | {entry.text} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the table into the document; with `--check` only tell whether it is up to date."""
    text = DOCUMENT.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    updated = text[:begin] + table() + text[end:]
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(updated)
    elif updated != text:
        print("docs/observability.md: the table of metrics is out of date; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
