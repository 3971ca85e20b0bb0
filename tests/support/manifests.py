"""The Kubernetes objects of an environment, as kustomize builds them."""

import functools
import importlib.util
from types import ModuleType
from typing import Any

from bff_tools.origin import ROOT

KUBERNETES = ROOT / "deploy/k8s"
ENVIRONMENTS = ("production", "staging")
Manifest = dict[str, Any]


@functools.cache
def script() -> ModuleType:
    """Return `deploy/k8s/manifests.py`, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("manifests", KUBERNETES / "manifests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def built(environment: str) -> tuple[Manifest, ...]:
    """Return the objects of an environment; they are shared, so nobody may change them."""
    return tuple(script().build(environment))


def of_kind(environment: str, kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind by name."""
    return {item["metadata"]["name"]: item for item in built(environment) if item["kind"] == kind}


def pod_of(deployment: Manifest) -> Manifest:
    """Return the spec of a deployment's pods."""
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec
