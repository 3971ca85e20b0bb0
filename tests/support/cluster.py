"""A cluster in memory behind kubectl's commands, so that a whole deployment can be tried."""

import json
from collections.abc import Sequence
from subprocess import CompletedProcess
from typing import Any

import yaml


class FakeCluster:
    """Answers the commands of `deploy/k8s/rollout.py`, and keeps what kubectl promises of them.

    `create` refuses what exists, `apply` replaces it and makes another revision of a Deployment whose pods change,
    `rollout undo` brings one back.
    """

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.objects: dict[str, Any] = {}
        self.annotations: dict[str, str] = {}
        self.never_ready: set[str] = set()
        """Images whose pods do not become ready."""
        self.alerts: list[list[dict[str, Any]] | None] = [[]]
        """What Prometheus answers, one after the other, the last one for good; None: it does not."""
        self._revisions: dict[str, list[Any]] = {}

    def __call__(self, arguments: Sequence[str], given: str | None) -> CompletedProcess[str]:
        """Do what kubectl would; an AssertionError is a command of the wrong namespace or one that is not known."""
        option, namespace, verb, *rest = arguments
        assert option == "--namespace"
        self.commands.append(verb)
        items = {_name(item): item for item in yaml.safe_load_all(given)} if given else {}
        assert all(item["metadata"]["namespace"] == namespace for item in items.values())
        code, out, err = getattr(self, f"_{verb}")(rest, items)
        return CompletedProcess(list(arguments), code, out, err)

    def image(self, part: str) -> str:
        """Return the image that a part runs."""
        found: str = _pods(self.objects[f"deployment/bff-{part}"])["spec"]["containers"][0]["image"]
        return found

    def _get(self, rest: list[str], _: dict[str, Any]) -> tuple[int, str, str]:
        if rest[0] == "--raw":
            now = self.alerts.pop(0) if len(self.alerts) > 1 else self.alerts[0]
            if now is None:
                return 1, "", "no such service"
            return 0, json.dumps({"status": "success", "data": {"alerts": now}}), ""
        if rest[0] == "configmap":
            return 0, "configmap/x" if f"configmap/{rest[1]}" in self.objects else "", ""
        revisions = self._revisions.get(rest[0], [])
        number = len(revisions)
        return 0, f"{number} {self.annotations.get(rest[0], '')}" if revisions else "", ""

    def _create(self, _: list[str], items: dict[str, Any]) -> tuple[int, str, str]:
        if items.keys() & self.objects.keys():
            return 1, "", "AlreadyExists"
        self.objects |= items
        return 0, "", ""

    def _diff(self, _: list[str], items: dict[str, Any]) -> tuple[int, str, str]:
        return int(any(self.objects.get(name) != item for name, item in items.items())), "", ""

    def _apply(self, _: list[str], items: dict[str, Any]) -> tuple[int, str, str]:
        for name, item in items.items():
            if item["kind"] == "Deployment" and _pods(self.objects.get(name)) != _pods(item):
                self._revisions.setdefault(name, []).append(item)
            self.objects[name] = item
        return 0, "", ""

    def _annotate(self, rest: list[str], _: dict[str, Any]) -> tuple[int, str, str]:
        self.annotations[rest[-2]] = rest[-1].partition("=")[2]
        return 0, "", ""

    def _rollout(self, rest: list[str], _: dict[str, Any]) -> tuple[int, str, str]:
        action, name, option = rest
        if action == "undo":  # what was there becomes the newest revision again
            back = self._revisions[name][int(option.partition("=")[2]) - 1]
            self._revisions[name].append(back)
            self.objects[name] = back
            return 0, "", ""
        image = _pods(self.objects[name])["spec"]["containers"][0]["image"]
        return (1, "", "timed out waiting for the condition") if image in self.never_ready else (0, "", "")


def _name(item: dict[str, Any]) -> str:
    return f"{item['kind'].lower()}/{item['metadata']['name']}"


def _pods(deployment: dict[str, Any] | None) -> Any:
    return deployment and deployment["spec"]["template"]
