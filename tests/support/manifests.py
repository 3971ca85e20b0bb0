"""The Kubernetes objects of an environment, as kustomize builds them."""

import functools
from typing import Any

from bff_tools.origin import ROOT
from deploy.k8s.manifests import build

KUBERNETES = ROOT / "deploy/k8s"
ENVIRONMENTS = ("production", "staging")
Manifest = dict[str, Any]


@functools.cache
def built(environment: str) -> tuple[Manifest, ...]:
    """Return the objects of an environment; they are shared, so nobody may change them."""
    return tuple(build(environment))


def of_kind(environment: str, kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind by name."""
    return {item["metadata"]["name"]: item for item in built(environment) if item["kind"] == kind}


def pod_of(deployment: Manifest) -> Manifest:
    """Return the spec of a deployment's pods."""
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec
