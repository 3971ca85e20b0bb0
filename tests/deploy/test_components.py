"""What an environment can have besides: an ingress or a gateway in front, monitoring, somebody who may deploy."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bff_tools import SERVICES
from bff_tools.origin import ROOT
from deploy.k8s import check
from deploy.k8s.manifests import build, kubectl, select
from deploy.k8s.monitoring import PROMETHEUS, RULES, objects
from deploy.k8s.rollout import Rollout
from tests.support.cluster import FakeCluster
from tests.support.manifests import KUBERNETES, Manifest, built, pod_of

PLURALS = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}


def with_component(tmp_path: Path, name: str, environment: str = "production") -> list[Manifest]:
    """Build an environment with a component, as an overlay of one's own would."""
    up = Path("../" * (len(tmp_path.parts) - 1)) / str(KUBERNETES).lstrip("/")
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{up}/overlays/{environment}]\ncomponents: [{up}/components/{name}]\n"
        f"namespace: bff-{environment}\n"
    )
    command = [kubectl(), "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603  the locked one
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize(("component", "kinds"), [("ingress", {"Ingress"}), ("gateway", {"Gateway", "HTTPRoute"})])
def test_what_ends_tls_in_front_reaches_the_origin_and_is_believed(
    tmp_path: Path, component: str, kinds: set[str]
) -> None:
    made = with_component(tmp_path, component)
    front = [item for item in made if item["kind"] in kinds]
    assert {item["kind"] for item in front} == kinds
    assert check.problems([item for item in made if "gateway" not in item["apiVersion"]]) == []
    service = next(item for item in made if item["kind"] == "Service" and item["metadata"]["name"] == "bff-origin")
    (port,) = service["spec"]["ports"]
    text = yaml.safe_dump(front)
    assert "bff-origin" in text
    if component == "ingress":
        (path,) = front[0]["spec"]["rules"][0]["http"]["paths"]
        assert path["backend"]["service"] == {"name": "bff-origin", "port": {"name": port["name"]}}
        assert front[0]["spec"]["tls"][0]["hosts"] == [front[0]["spec"]["rules"][0]["host"]]
    else:
        route = next(item for item in front if item["kind"] == "HTTPRoute")
        assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "bff-origin", "port": port["port"]}]
    origin = next(item for item in made if item["kind"] == "Deployment" and item["metadata"]["name"] == "bff-origin")
    given = {entry["name"]: entry.get("value") for entry in pod_of(origin)["containers"][0]["env"]}
    assert given["NGINX_TRUSTED_PROXIES"]
    assert given["NGINX_HOSTS"] in text
    # It belongs to the origin, so deploying the origin applies it.
    chosen = select(made, "origin", f"registry.example/bff-origin@sha256:{1:064x}")
    assert kinds <= {item["kind"] for item in chosen}


def test_redis_speaks_tls_alone_and_the_services_know_who_vouches_for_it(tmp_path: Path) -> None:
    made = with_component(tmp_path, "redis-tls", "staging")
    assert check.problems(made) == []
    deployments = {item["metadata"]["name"]: pod_of(item) for item in made if item["kind"] == "Deployment"}
    redis = deployments["bff-redis"]["containers"][0]
    plain = next(
        item for item in built("staging") if item["metadata"]["name"] == "bff-redis" and "template" in item["spec"]
    )
    before = pod_of(plain)["containers"][0]["args"]
    assert redis["args"][: len(before)] == before, "all else stays as it is without TLS"
    options = dict(zip(redis["args"][::2], redis["args"][1::2], strict=True))
    assert (options["--port"], options["--tls-port"]) == ("0", str(redis["ports"][0]["containerPort"]))
    assert "--tls" in redis["readinessProbe"]["exec"]["command"]
    told = (KUBERNETES / "components/redis-tls/kustomization.yaml").read_text()
    for service in SERVICES:
        pod = deployments[f"bff-{service}"]
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "redis-tls")
        assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}], "not the key"
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert f"ssl_ca_certs={mounts['redis-tls']}/ca.crt" in told
    assert "bff-redis-tls" not in yaml.safe_dump(deployments["bff-origin"])


def test_prometheus_gets_the_very_rules_and_the_labels_that_they_ask_for() -> None:
    made = objects("staging", "monitoring")
    rules = next(item for item in made if item["kind"] == "PrometheusRule")
    files = [yaml.safe_load(path.read_text())["groups"] for path in sorted(RULES.glob("*.yml"))]
    assert rules["spec"]["groups"] == [group for groups in files for group in groups]
    monitor = next(item for item in made if item["kind"] == "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert {rule["targetLabel"] for rule in endpoint["relabelings"]} == {"job", "service", "namespace", "pod"}
    selector = monitor["spec"]["selector"]
    chosen = [
        item["metadata"]["name"]
        for item in built("staging")
        if item["kind"] == "Service"
        and selector["matchLabels"].items() <= item["metadata"]["labels"].items()
        and item["metadata"]["labels"]["app.kubernetes.io/name"] in selector["matchExpressions"][0]["values"]
    ]
    assert sorted(chosen) == sorted(f"bff-{service}" for service in SERVICES)
    assert check.problems([item for item in made if "monitoring.coreos" not in item["apiVersion"]]) == []


def rules_of(path: Path) -> dict[str, set[str]]:
    """Return which verbs a role allows for each resource."""
    role = next(item for item in yaml.safe_load_all(path.read_text()) if item["kind"] == "Role")
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_deployer_may_do_what_a_deployment_does_and_no_more(environment: str) -> None:
    path = KUBERNETES / "deployer.yaml"
    assert check.problems([_in(item, f"bff-{environment}") for item in yaml.safe_load_all(path.read_text())]) == []
    allowed = rules_of(path)
    assert not {"secrets", "pods", "pods/exec", "roles", "namespaces", "*"} & allowed.keys()
    assert not {"delete", "deletecollection", "*", "escalate", "bind"} & {
        verb for verbs in allowed.values() for verb in verbs
    }
    applied = {
        PLURALS.get(item["kind"], f"{item['kind'].lower()}s")
        for part in (*SERVICES, "origin")
        for item in select(copy.deepcopy(built(environment)), part, f"registry.example/bff@sha256:{1:064x}")
    }
    assert {resource for resource in applied if {"get", "create", "patch"} <= allowed.get(resource, set())} == applied


def test_the_deployer_may_read_alerts_where_the_pipeline_asks_for_them() -> None:
    (role,) = (item for item in objects("production", "monitoring") if item["kind"] == "Role")
    workflow = (ROOT / ".github/workflows/deploy.yml").read_text()
    assert f"'monitoring/{PROMETHEUS}'" in workflow
    asked: list[str] = []

    class Recording(FakeCluster):
        def __call__(self, arguments: Any, given: str | None) -> subprocess.CompletedProcess[str]:
            asked.extend(word for word in arguments if word.startswith("/api"))
            return super().__call__(arguments, given)

    rollout = Rollout("production", "proxy", f"monitoring/{PROMETHEUS}", Recording(), lambda _: None)
    image = f"registry.example/bff@sha256:{1:064x}"
    rollout.run(select(copy.deepcopy(built("production")), "proxy", image), build("production", "flags"), 0)
    assert asked == [
        f"/api/v1/namespaces/monitoring/services/{role['rules'][0]['resourceNames'][0]}/proxy/api/v1/alerts"
    ]
    assert role["rules"][0]["verbs"] == ["get"]


def _in(item: Manifest, namespace: str) -> Manifest:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}
