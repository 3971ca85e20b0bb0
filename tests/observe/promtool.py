"""Situations as Prometheus would see them, put to `promtool test rules`."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy/prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
SERVICES = ("proxy", "aggregator", "wsrelay")


def program(name: str) -> str:
    """Return the path of a program of Debian's package `prometheus`; skip without it, but never in CI."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"{name} is not installed (on Debian: the package prometheus)")
    assert found is not None, f"CI has to have {name}"
    return found


def alerts() -> dict[str, Any]:
    """Return every alert rule by its name."""
    groups = yaml.safe_load((FOLDER / "rules/alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@dataclass(frozen=True)
class Firing:
    """An alert that has to fire: the labels it has besides its severity, and its value as its text shows it."""

    alert: str
    labels: Mapping[str, str]
    value: str = ""


@dataclass(frozen=True)
class Situation:
    """Series in promtool's notation, one sample a minute, and exactly which alerts fire after `minutes`.

    `aside` are alerts that are not asked about.

    Rules are evaluated each minute, where it lasts an hour or more each fourth: a result is forgotten after five.
    """

    name: str
    minutes: int
    series: Mapping[str, str]
    fires: Sequence[Firing] = ()
    up: Sequence[str] = SERVICES
    aside: Sequence[str] = ()

    def case(self) -> dict[str, Any]:
        """Return the situation as promtool takes it, with an expectation for every alert that there is."""
        known = {f'up{{job="bff", service="{name}", instance="{name}:1"}}': f"1x{self.minutes}" for name in self.up}
        series = {**known, **self.series}
        return {
            "name": self.name,
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "alert_rule_test": [
                {
                    "eval_time": f"{self.minutes}m",
                    "alertname": alert,
                    "exp_alerts": [_expected(rule, firing) for firing in self.fires if firing.alert == alert],
                }
                for alert, rule in alerts().items()
                if alert not in self.aside
            ],
        }


def _expected(rule: Any, firing: Firing) -> dict[str, Any]:
    def fill(template: str) -> str:
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: firing.labels[match[1]], template)
        return re.sub(r"\{\{ \$value( \| \w+)? \}\}", firing.value, text)

    labels = {"severity": rule["labels"]["severity"], **firing.labels}
    return {"exp_labels": labels, "exp_annotations": {key: fill(text) for key, text in rule["annotations"].items()}}


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)  # noqa: S603  ours


def put(situations: Sequence[Situation], folder: Path) -> subprocess.CompletedProcess[str]:
    """Have promtool judge situations; its output names each expectation that does not hold."""
    documents = []
    for interval, chosen in (
        ("1m", [situation for situation in situations if situation.minutes < 60]),
        ("4m", [situation for situation in situations if situation.minutes >= 60]),
    ):
        document = {
            "rule_files": [str(path) for path in RULES],
            "evaluation_interval": interval,
            "tests": [situation.case() for situation in chosen],
        }
        documents.append(folder / f"every-{interval}.yml")
        documents[-1].write_text(yaml.safe_dump(document, sort_keys=False))
    return run("test", "rules", *map(str, documents))
