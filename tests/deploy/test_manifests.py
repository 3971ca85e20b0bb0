"""The Kubernetes objects fit each other and the services that they run."""

import copy
import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from bff_aggregator.settings import AggregatorSettings
from bff_proxy.settings import ProxySettings
from bff_shared.settings import Settings, load
from bff_tools import SERVICES
from bff_tools.origin import ROOT
from bff_wsrelay.settings import RelaySettings
from deploy.k8s.manifests import select
from tests.support.manifests import ENVIRONMENTS, KUBERNETES, Manifest, built, of_kind, pod_of

SETTINGS: dict[str, type[Settings]] = {
    "proxy": ProxySettings,
    "aggregator": AggregatorSettings,
    "wsrelay": RelaySettings,
}
PARTS = (*SERVICES, "origin")
DIGEST = f"sha256:{0:064x}"

pytestmark = pytest.mark.parametrize("environment", ENVIRONMENTS)


def labels_of(pods: Manifest) -> dict[str, str]:
    labels: dict[str, str] = pods["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def environment_of(environment: str, service: str) -> dict[str, str]:
    """Return the settings that a service's pods get, secrets left out."""
    container = pod_of(of_kind(environment, "Deployment")[f"bff-{service}"])["containers"][0]
    maps = [source["configMapRef"]["name"] for source in container["envFrom"]]
    given: dict[str, str] = {}
    for name in maps:
        given |= of_kind(environment, "ConfigMap")[name]["data"]
    return given | {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def mentions(value: Any, key: str) -> Iterator[Any]:
    """Return what stands under a key, anywhere in a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from mentions(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from mentions(inner, key)


def test_every_part_has_what_it_takes_to_run_and_scale(environment: str) -> None:
    for kind in ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert {f"bff-{part}" for part in PARTS} <= of_kind(environment, kind).keys()


def test_selectors_select_the_pods_of_their_own_part_alone(environment: str) -> None:
    pods = {name: labels_of(item) for name, item in of_kind(environment, "Deployment").items()}
    for kind in ("Service", "PodDisruptionBudget", "Deployment"):
        for name, item in of_kind(environment, kind).items():
            selector = item["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            assert [pod for pod, labels in pods.items() if selects(selector, labels)] == [name]
    for name, item in of_kind(environment, "Deployment").items():
        for constraint in pod_of(item).get("topologySpreadConstraints", []):
            assert selects(constraint["labelSelector"]["matchLabels"], pods[name])


def test_autoscalers_own_the_number_of_replicas(environment: str) -> None:
    deployments = of_kind(environment, "Deployment")
    for name, item in of_kind(environment, "HorizontalPodAutoscaler").items():
        assert item["spec"]["scaleTargetRef"]["name"] == name
        assert item["spec"]["minReplicas"] >= 2, "one pod may go at any time"
        assert "replicas" not in deployments[name]["spec"], "each apply would undo the autoscaler"
        assert pod_of(deployments[name])["containers"][0]["resources"]["requests"]["cpu"], "utilization is of this"


def test_the_autoscalers_signals_are_made_from_metrics_that_the_services_have(environment: str) -> None:
    rules = yaml.safe_load((KUBERNETES / "adapter.yaml").read_text())["rules"]["custom"]
    asked = {
        metric["pods"]["metric"]["name"]
        for item in of_kind(environment, "HorizontalPodAutoscaler").values()
        for metric in item["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert asked == {rule["name"]["as"] for rule in rules}
    sources = "".join(path.read_text() for path in ROOT.glob("s*/**/src/**/*.py"))
    for rule in rules:
        for series in re.findall(r"\bbff_\w+", rule["seriesQuery"] + rule["metricsQuery"]):
            assert f'"{series}"' in sources


def test_proxies_are_added_before_their_streams_of_flags_are_all_taken(environment: str) -> None:
    targets = {
        metric["pods"]["metric"]["name"]: float(metric["pods"]["target"]["averageValue"])
        for metric in of_kind(environment, "HorizontalPodAutoscaler")["bff-proxy"]["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert targets["bff_flag_streams"] <= ProxySettings().flag_listeners / 2


def test_a_pod_has_the_time_that_draining_takes(environment: str) -> None:
    for service, kind in SETTINGS.items():
        pod = pod_of(of_kind(environment, "Deployment")[f"bff-{service}"])
        given = environment_of(environment, service)
        settings = load(kind, **{name.removeprefix("BFF_").lower(): value for name, value in given.items()})
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        # Hooks and drain_seconds share one limit, shutdown_seconds; requests that run then have as much again.
        assert settings.drain_seconds < settings.shutdown_seconds
        assert pod["terminationGracePeriodSeconds"] > pause + 2 * settings.shutdown_seconds


def test_the_origin_has_the_time_that_its_streams_take_to_end(environment: str) -> None:
    found = re.search(r"^worker_shutdown_timeout (\d+)s;", (ROOT / "deploy/nginx/nginx.conf").read_text(), re.MULTILINE)
    assert found is not None
    pod = pod_of(of_kind(environment, "Deployment")["bff-origin"])
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + int(found[1])


def test_a_pod_counts_only_once_the_origins_can_know_it(environment: str) -> None:
    for item in of_kind(environment, "Deployment").values():
        if item["metadata"]["name"] != "bff-redis":
            pause = pod_of(item)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert item["spec"]["minReadySeconds"] >= pause
            assert item["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_settings_are_ones_that_the_services_know_and_accept(environment: str) -> None:
    for service, kind in SETTINGS.items():
        given = environment_of(environment, service)
        known = {f"BFF_{name.upper()}" for one in SETTINGS.values() for name in one.model_fields}
        assert given.keys() <= known
        load(kind, **{name.removeprefix("BFF_").lower(): value for name, value in given.items()})
        container = pod_of(of_kind(environment, "Deployment")[f"bff-{service}"])["containers"][0]
        assert {entry["name"] for entry in container["env"]} <= known


def test_ports_are_those_of_the_images(environment: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for service in SERVICES:
        port = int(compose[service]["build"]["args"]["PORT"])
        item = of_kind(environment, "Deployment")[f"bff-{service}"]
        assert pod_of(item)["containers"][0]["ports"] == [{"name": "http", "containerPort": port}]
        assert item["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)
        assert of_kind(environment, "Service")[f"bff-{service}"]["spec"]["ports"][0]["port"] == port


def test_the_origin_names_the_services_as_dns_does(environment: str) -> None:
    container = pod_of(of_kind(environment, "Deployment")["bff-origin"])["containers"][0]
    values = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    for service in SERVICES:
        port = of_kind(environment, "Service")[f"bff-{service}"]["spec"]["ports"][0]["port"]
        expected = f"bff-{service}.$(POD_NAMESPACE).svc.cluster.local:{port}"
        assert values[f"{service.upper()}_UPSTREAM"] == expected
        assert of_kind(environment, "Service")[f"bff-{service}"]["spec"]["clusterIP"] == "None"


def test_pods_are_as_modest_as_their_namespace_demands(environment: str) -> None:
    (namespace,) = of_kind(environment, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for item in of_kind(environment, "Deployment").values():
        pod = pod_of(item)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_everything_that_is_named_is_there(environment: str) -> None:
    maps = {"bff-flags", *of_kind(environment, "ConfigMap")}  # those of the flags are created apart, once
    for item in of_kind(environment, "Deployment").values():
        pod = pod_of(item)
        named = {reference["name"] for reference in mentions(pod, "configMapRef")}
        named |= {reference["name"] for reference in mentions(pod, "configMapKeyRef")}
        named |= {reference["name"] for reference in mentions(pod, "configMap")}
        assert named <= maps
        assert {reference["name"] for reference in mentions(pod, "secretKeyRef")} <= {"bff-secrets"}
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            ports = {port["name"] for port in container["ports"]}
            assert {check["port"] for kind in ("httpGet", "tcpSocket") for check in mentions(container, kind)} <= ports


def test_no_secret_is_in_the_manifests(environment: str) -> None:
    assert of_kind(environment, "Secret") == {}
    given = [environment_of(environment, service) for service in SERVICES]
    assert not [name for settings in given for name in settings if re.search("TOKEN|KEY|REDIS_URL", name)]


def test_nobody_talks_to_anybody_by_default(environment: str) -> None:
    policies = of_kind(environment, "NetworkPolicy")
    assert policies["bff-default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    doors = policies["bff-services"]["spec"]["ingress"]
    assert [list(peer) for peer in doors[0]["from"]] == [["podSelector"], ["namespaceSelector"]]
    for block in mentions(list(policies.values()), "ipBlock"):
        assert ip_network(block["cidr"]).num_addresses <= 2**16, "everywhere is not an address"


def test_a_part_is_deployed_without_touching_the_others(environment: str) -> None:
    for part in PARTS:
        image = f"registry.example:5000/team/bff-{part}@{DIGEST}"
        chosen = select(copy.deepcopy(built(environment)), part, image)
        (deployment,) = (item for item in chosen if item["kind"] == "Deployment")
        assert deployment["metadata"]["name"] == f"bff-{part}"
        assert pod_of(deployment)["containers"][0]["image"] == image
        others = {f"bff-{name}" for name in (*PARTS, "redis") if name != part}
        assert not others & {item["metadata"]["name"] for item in chosen if item["kind"] != "NetworkPolicy"}
        wanted = {reference["name"] for key in ("configMapRef", "configMap") for reference in mentions(deployment, key)}
        assert wanted <= {"bff-flags", *(item["metadata"]["name"] for item in chosen if item["kind"] == "ConfigMap")}


def test_every_object_belongs_to_a_part_or_to_all(environment: str) -> None:
    names = {item["metadata"]["labels"]["app.kubernetes.io/name"] for item in built(environment)}
    assert names <= {*PARTS, "redis", "common"}
