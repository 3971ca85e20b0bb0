"""Hold every environment's manifests against the Kubernetes API's schemas: `check.py`, without a cluster."""

import sys
from collections import Counter
from typing import Final

import kubernetes_validate

from deploy.k8s.manifests import ENVIRONMENTS, Manifest, ManifestError, build

VERSIONS: Final = ("1.32", "1.37")
"""Releases of Kubernetes whose schemas the objects have to fit: the oldest and the newest supported."""


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
    """Raise ManifestError unless every environment, its flags included, can be built and fits the schemas."""
    wrong = [f"{name}: {reason}" for name in ENVIRONMENTS for reason in problems(build(name) + build(name, "flags"))]
    if wrong:
        raise ManifestError("\n".join(wrong))


def main() -> int:
    """Check; a failure is its lines on standard error and exit status 1."""
    try:
        check()
    except ManifestError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
