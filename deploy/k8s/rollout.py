"""Roll one part out in one environment, watch its alerts, and go back by itself.

    python -m deploy.k8s.rollout ENVIRONMENT PART IMAGE [--watch SECONDS] [--alerts NAMESPACE/SERVICE:PORT]

In this order: the flags are created if there are none (never applied: they are the operator's); where the cluster has
these very objects already, that is all; the objects are applied and the roll-out is waited for; then no alert of the
part may begin to fire for as long as `--watch` says. A roll-out that does not finish and an alert that begins put the
Deployment back to the revision that it had; the same objects are then refused until somebody says otherwise
(`kubectl annotate deployment/bff-PART bff/taken-back-`). Alerts are read from Prometheus through the API server, with
the deployer's own credentials.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import yaml

from deploy.k8s.manifests import ENVIRONMENTS, Manifest, ManifestError, build, kubectl, select

FLAGS: Final = "bff-flags"
REVISION: Final = r"{.metadata.annotations.deployment\.kubernetes\.io/revision}"
TAKEN_BACK: Final = "bff/taken-back"
"""Annotation of a Deployment: the digest of the objects that were rolled out and taken back."""
REFUSED: Final = r"{.metadata.annotations.bff/taken-back}"
PAUSE_SECONDS: Final = 15.0
UNREAD: Final = 4
"""How many times in a row the alerts may be unreadable before that counts as not having been watched."""


class RolloutError(Exception):
    """A roll-out was not made, or was taken back; the text is what the operator reads."""


def firing(response: str) -> dict[str, dict[str, str]]:
    """Return the labels of our alerts that fire, by all of them together, from a response to /api/v1/alerts."""
    alerts: list[dict[str, Any]] = json.loads(response)["data"]["alerts"]
    return {
        json.dumps(alert["labels"], sort_keys=True): alert["labels"]
        for alert in alerts
        if alert["state"] == "firing" and alert["labels"].get("alertname", "").startswith("Bff")
    }


def concerning(alerts: Iterable[dict[str, str]], part: str, namespace: str) -> list[str]:
    """Return the names of the alerts that a roll-out of the part could have caused.

    Everything passes through the origin, so each of them could be its doing. An alert that names another namespace is
    another environment's.
    """
    return sorted(
        {
            labels["alertname"]
            for labels in alerts
            if labels.get("namespace", namespace) == namespace
            and (part == "origin" or labels.get("service", part) == part)
        }
    )


Kubectl = Callable[[Sequence[str], str | None], subprocess.CompletedProcess[str]]
"""Runs kubectl with arguments and a standard input."""


def run_kubectl(arguments: Sequence[str], given: str | None) -> subprocess.CompletedProcess[str]:
    """Run the real one."""
    command = [kubectl(), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=1200)  # noqa: S603  built here


class Rollout:
    """One part's way into one environment.

    Args:
        environment: the overlay, and with `bff-` before it the namespace.
        part: what is rolled out.
        alerts: `NAMESPACE/SERVICE:PORT` of Prometheus; empty does not watch.
        run: how kubectl is run; tests have a cluster of their own behind it.
        sleep: how to wait; tests do not.
    """

    def __init__(
        self,
        environment: str,
        part: str,
        alerts: str,
        run: Kubectl = run_kubectl,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._part = part
        self._namespace = f"bff-{environment}"
        self._deployment = f"deployment/bff-{part}"
        self._alerts = alerts
        self._run = run
        self._sleep = sleep

    def run(self, objects: list[Manifest], flags: list[Manifest], watch_seconds: float) -> str:
        """Apply the objects and see them through; create the flags if there are none. Return what came of it.

        Raises:
            RolloutError: it was taken back, or not begun.
        """
        if not self._ask("get", "configmap", FLAGS, "--ignore-not-found", "-o", "name"):
            self._ask("create", "-f", "-", given=flags)
        before = self._firing() if self._alerts else {}
        if self._same(objects):
            return "the cluster has these very objects; nothing to do"
        digest = hashlib.sha256(_text(objects).encode()).hexdigest()[:16]
        revision, _, refused = self._ask(
            "get", self._deployment, "--ignore-not-found", "-o", f"jsonpath={REVISION} {REFUSED}"
        ).partition(" ")
        if refused == digest:
            raise RolloutError(
                f"these objects were taken back before; to try again: kubectl -n {self._namespace} annotate "
                f"{self._deployment} {TAKEN_BACK}-"
            )
        try:
            self._ask("apply", "-f", "-", given=objects)
            self._ask("rollout", "status", self._deployment, "--timeout=15m")
            self._watch(before, watch_seconds)
        except RolloutError as error:
            self._back(revision, digest, error)
        return "rolled out" + (f", and no alert began within {watch_seconds:.0f} s" if self._alerts else ", unwatched")

    def _watch(self, before: dict[str, dict[str, str]], seconds: float) -> None:
        unread = 0
        for _ in range(int(seconds // PAUSE_SECONDS) if self._alerts else 0):
            self._sleep(PAUSE_SECONDS)
            try:
                now = self._firing()
            except RolloutError:
                unread += 1
                if unread == UNREAD:
                    raise
                continue
            unread = 0
            begun = [labels for key, labels in now.items() if key not in before]
            if names := concerning(begun, self._part, self._namespace):
                raise RolloutError(f"{', '.join(names)} began to fire")

    def _back(self, revision: str, digest: str, cause: RolloutError) -> None:
        if not revision:
            raise RolloutError(f"{cause}; this was the first revision, so there is none to go back to") from cause
        self._ask("annotate", "--overwrite", self._deployment, f"{TAKEN_BACK}={digest}")
        self._ask("rollout", "undo", self._deployment, f"--to-revision={revision}")
        self._ask("rollout", "status", self._deployment, "--timeout=15m")
        raise RolloutError(f"{cause}; {self._deployment} is back at revision {revision}") from cause

    def _firing(self) -> dict[str, dict[str, str]]:
        namespace, _, service = self._alerts.partition("/")
        path = f"/api/v1/namespaces/{namespace}/services/{service}/proxy/api/v1/alerts"
        try:
            return firing(self._ask("get", "--raw", path))
        except (ValueError, KeyError, TypeError) as error:
            raise RolloutError(f"{path} is not what Prometheus answers: {error}") from error

    def _same(self, objects: list[Manifest]) -> bool:
        done = self._kubectl(("diff", "-f", "-"), objects)
        if done.returncode not in {0, 1}:
            raise RolloutError(done.stderr.strip())
        sys.stderr.write(done.stdout)
        return done.returncode == 0

    def _ask(self, *arguments: str, given: list[Manifest] | None = None) -> str:
        done = self._kubectl(arguments, given)
        if done.returncode:
            raise RolloutError(f"kubectl {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _kubectl(
        self, arguments: tuple[str, ...], given: list[Manifest] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self._run(("--namespace", self._namespace, *arguments), None if given is None else _text(given))


def _text(objects: list[Manifest]) -> str:
    text: str = yaml.safe_dump_all(objects, sort_keys=False)
    return text


def main(words: Sequence[str] | None = None, run: Kubectl = run_kubectl) -> int:
    """Do what the command line says; a failure is its lines on standard error and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=ENVIRONMENTS)
    parser.add_argument("part")
    parser.add_argument("image")
    parser.add_argument("--watch", type=float, default=300.0, help="seconds")
    parser.add_argument("--alerts", default="", help="NAMESPACE/SERVICE:PORT of Prometheus; empty: unwatched")
    arguments = parser.parse_args(words)
    try:
        objects = select(build(arguments.environment), arguments.part, arguments.image)
        rollout = Rollout(arguments.environment, arguments.part, arguments.alerts, run)
        done = rollout.run(objects, build(arguments.environment, "flags"), arguments.watch)
    except (ManifestError, RolloutError) as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return 1
    print(f"{arguments.part} in {arguments.environment}: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
