"""Build the manifests of an environment, check them, and pick what belongs to one service.

    manifests.py check                                  every environment against the Kubernetes API's schemas
    manifests.py select ENVIRONMENT SERVICE IMAGE       print the objects that deploying the service applies

`kubectl kustomize` builds; no cluster is asked. IMAGE names its content (`registry/bff-proxy@sha256:…`), because a tag
may be moved between a test and a roll-out, or between a roll-out and a roll-back.
"""

import argparse
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = tuple(sorted(path.parent.name for path in HERE.glob("overlays/*/kustomization.yaml")))
VERSIONS: Final = ("1.32", "1.37")
"""Releases of Kubernetes whose schemas the objects have to fit: the oldest and the newest supported."""
NAME: Final = "app.kubernetes.io/name"
COMMON: Final = "common"
Manifest = dict[str, Any]


class ManifestError(Exception):
    """An environment cannot be built, or is not as it should be; the text has one line for each reason."""


def build(environment: str) -> list[Manifest]:
    """Return the objects of an environment. Raises ManifestError with kustomize's words."""
    kubectl = Path(sysconfig.get_path("scripts")) / "kubectl"
    command = [str(kubectl), "kustomize", str(HERE / "overlays" / environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  the locked one
    if done.returncode:
        raise ManifestError(f"{environment}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def problems(manifests: list[Manifest]) -> list[str]:
    """Return what is wrong with built objects: unknown or missing fields, wrong types, the same name twice."""
    found = [
        f"{_title(item)}: {_reason(error)} (Kubernetes {version})"
        for version in VERSIONS
        for item in manifests
        if (error := _invalid(item, version)) is not None
    ]
    names = Counter(_title(item) for item in manifests)
    return found + [f"{name}: there are {count} of it" for name, count in names.items() if count > 1]


def select(manifests: list[Manifest], service: str, image: str) -> list[Manifest]:
    """Return the objects of one service and those that all share, the service's pods running `image`.

    Raises ManifestError if there is no such service, or the image is not named by its digest.
    """
    if not re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", image):
        raise ManifestError(f"{image!r} does not name an image's content (…@sha256:…)")
    chosen = [item for item in manifests if item["metadata"].get("labels", {}).get(NAME) in {COMMON, service}]
    pods = [item["spec"]["template"]["spec"] for item in chosen if item["kind"] == "Deployment"]
    if len(pods) != 1:
        raise ManifestError(f"there is no service {service!r}")
    pods[0]["containers"][0]["image"] = image
    return chosen


def _invalid(item: Manifest, version: str) -> Exception | None:
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except (
        kubernetes_validate.ValidationError,
        kubernetes_validate.SchemaNotFoundError,
        kubernetes_validate.InvalidSchemaError,
    ) as error:
        return error  # type: ignore[no-any-return]  # the library ships no types
    return None


def _reason(error: Exception) -> str:
    path = ".".join(str(part) for part in getattr(error, "path", ()))
    return f"{path}: {getattr(error, 'message', error)}"


def _title(item: Manifest) -> str:
    return f"{item.get('kind')} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def check() -> None:
    """Raise ManifestError unless every environment can be built and fits the schemas."""
    wrong = [f"{name}: {reason}" for name in ENVIRONMENTS for reason in problems(build(name))]
    if wrong:
        raise ManifestError("\n".join(wrong))


def main() -> int:
    """Do what the command line says; a failure is its lines on standard error and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("check")
    choose = verbs.add_parser("select")
    choose.add_argument("environment", choices=ENVIRONMENTS)
    choose.add_argument("service")
    choose.add_argument("image")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "check":
            check()
        else:
            chosen = select(build(arguments.environment), arguments.service, arguments.image)
            yaml.safe_dump_all(chosen, sys.stdout, sort_keys=False)
    except ManifestError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
