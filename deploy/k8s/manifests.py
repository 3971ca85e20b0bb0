"""Build the manifests of an environment, and pick what belongs to one service.

    manifests.py ENVIRONMENT SERVICE IMAGE       print the objects that deploying the service applies

`kubectl kustomize` builds; no cluster is asked. IMAGE names its content (`registry/bff-proxy@sha256:…`), because a tag
may be moved between a test and a roll-out, or between a roll-out and a roll-back.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = tuple(sorted(path.parent.name for path in HERE.glob("overlays/*/kustomization.yaml")))
NAME: Final = "app.kubernetes.io/name"
COMMON: Final = "common"
Manifest = dict[str, Any]


class ManifestError(Exception):
    """An environment cannot be built, or is not as it should be; the text has one line for each reason."""


def kubectl() -> str:
    """Return the locked kubectl where it is installed, else the machine's. Raises ManifestError if there is none."""
    locked = Path(sysconfig.get_path("scripts")) / "kubectl"
    found = str(locked) if locked.exists() else shutil.which("kubectl")
    if not found:
        raise ManifestError("there is no kubectl on this machine")
    return found


def build(environment: str, part: str = "") -> list[Manifest]:
    """Return the objects of an environment, or of a folder of it that is applied apart.

    Raises:
        ManifestError: it cannot be built; with kustomize's words.
    """
    command = [kubectl(), "kustomize", str(HERE / "overlays" / environment / part)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  the locked one
    if done.returncode:
        raise ManifestError(f"{environment}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def select(manifests: Sequence[Manifest], service: str, image: str) -> list[Manifest]:
    """Return the objects of one service and those that all share, the service's pods running `image`.

    The namespace is not among them: who deploys needs no right beyond it.

    Raises ManifestError if there is no such service, or the image is not named by its digest.
    """
    if not re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", image):
        raise ManifestError(f"{image!r} does not name an image's content (…@sha256:…)")
    chosen = [
        item
        for item in manifests
        if item["metadata"].get("labels", {}).get(NAME) in {COMMON, service} and item["kind"] != "Namespace"
    ]
    pods = [item["spec"]["template"]["spec"] for item in chosen if item["kind"] == "Deployment"]
    if len(pods) != 1:
        raise ManifestError(f"there is no service {service!r}")
    pods[0]["containers"][0]["image"] = image
    return chosen


def main() -> int:
    """Print what the command line asks for; a failure is its lines on standard error and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=ENVIRONMENTS)
    parser.add_argument("service")
    parser.add_argument("image")
    arguments = parser.parse_args()
    try:
        chosen = select(build(arguments.environment), arguments.service, arguments.image)
    except ManifestError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return 1
    yaml.safe_dump_all(chosen, sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
