"""What `make deploy` does to a cluster: the flags stay the operator's, and a bad roll-out is taken back."""

import copy
import functools
import json

import pytest

from bff_tools import SERVICES
from bff_tools.origin import ROOT
from deploy.k8s.manifests import build, select
from deploy.k8s.rollout import UNREAD, Rollout, RolloutError, concerning, firing, main
from tests.support.cluster import FakeCluster
from tests.support.manifests import Manifest, built

PARTS = (*SERVICES, "origin")
OLD, NEW = (f"registry.example/bff-part@sha256:{number:064x}" for number in (1, 2))
ALERT = {
    "labels": {"alertname": "BffErrorBudgetBurnsFast", "service": "proxy", "severity": "critical"},
    "state": "firing",
}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@functools.cache
def flags_of(environment: str) -> tuple[Manifest, ...]:
    return tuple(build(environment, "flags"))


def deploy(
    cluster: FakeCluster, part: str, image: str = NEW, environment: str = "production", watch: float = 60
) -> str:
    rollout = Rollout(environment, part, "monitoring/prometheus-operated:9090", cluster, lambda _: None)
    objects = select(copy.deepcopy(built(environment)), part, image)
    return rollout.run(objects, list(copy.deepcopy(flags_of(environment))), watch)


def turned_off(cluster: FakeCluster) -> str:
    """Do what the runbook says in an emergency: edit the ConfigMap so that the master switch is off."""
    data = cluster.objects["configmap/bff-flags"]["data"]
    definitions = json.loads(data["flags.json"])
    definitions["flags"]["bff"] |= {"defaultVariant": "off", "metadata": {"reason": "an emergency"}}
    data["flags.json"] = json.dumps(definitions)
    return str(data["flags.json"])


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_an_operator_switched_off_is_off_after_every_deployment(cluster: FakeCluster, environment: str) -> None:
    for part in PARTS:
        deploy(cluster, part, OLD, environment)
    edited = turned_off(cluster)
    for part in PARTS:
        deploy(cluster, part, NEW, environment)
        assert cluster.image(part) == NEW
        assert cluster.objects["configmap/bff-flags"]["data"]["flags.json"] == edited


def test_production_begins_with_everything_off(cluster: FakeCluster) -> None:
    deploy(cluster, "aggregator")
    definitions = json.loads(cluster.objects["configmap/bff-flags"]["data"]["flags.json"])["flags"]
    shipped = json.loads((ROOT / "deploy/flags/flags.json").read_text())["flags"]
    assert definitions.keys() == shipped.keys()
    assert {flag["defaultVariant"] for flag in definitions.values()} == {"off"}


def test_no_deployment_applies_the_flags_or_the_namespace() -> None:
    for environment in ("staging", "production"):
        for part in PARTS:
            names = {item["metadata"]["name"] for item in select(copy.deepcopy(built(environment)), part, NEW)}
            assert not {"bff-flags", f"bff-{environment}"} & names


def test_a_part_is_rolled_out_in_order_and_watched(cluster: FakeCluster) -> None:
    assert deploy(cluster, "proxy") == "rolled out, and no alert began within 60 s"
    verbs = cluster.commands
    assert verbs == ["get", "create", "get", "diff", "get", "apply", "rollout", *["get"] * 4]


def test_what_the_cluster_has_already_is_not_rolled_out_again(cluster: FakeCluster) -> None:
    deploy(cluster, "proxy")
    cluster.commands.clear()
    assert "nothing to do" in deploy(cluster, "proxy")
    assert "apply" not in cluster.commands


def test_an_alert_that_begins_takes_the_part_back(cluster: FakeCluster) -> None:
    deploy(cluster, "proxy", OLD)
    cluster.alerts = [[], [], [ALERT]]
    with pytest.raises(RolloutError, match=r"BffErrorBudgetBurnsFast began to fire; .* is back at revision 1"):
        deploy(cluster, "proxy")
    assert cluster.image("proxy") == OLD


def test_what_was_taken_back_is_not_tried_again_by_itself(cluster: FakeCluster) -> None:
    deploy(cluster, "proxy", OLD)
    cluster.alerts = [[], [ALERT]]
    with pytest.raises(RolloutError, match="began to fire"):
        deploy(cluster, "proxy")
    cluster.alerts = [[]]
    with pytest.raises(RolloutError, match=r"annotate deployment/bff-proxy bff/taken-back-"):
        deploy(cluster, "proxy")
    assert cluster.image("proxy") == OLD
    cluster.annotations = {}
    deploy(cluster, "proxy")
    assert cluster.image("proxy") == NEW


def test_a_rollout_that_does_not_finish_is_taken_back(cluster: FakeCluster) -> None:
    deploy(cluster, "wsrelay", OLD)
    cluster.never_ready = {NEW}
    with pytest.raises(RolloutError, match="timed out waiting"):
        deploy(cluster, "wsrelay")
    assert cluster.image("wsrelay") == OLD


def test_the_first_revision_has_none_to_go_back_to(cluster: FakeCluster) -> None:
    cluster.never_ready = {NEW}
    with pytest.raises(RolloutError, match="none to go back to"):
        deploy(cluster, "proxy")


def test_alerts_that_fired_before_are_not_its_doing(cluster: FakeCluster) -> None:
    cluster.alerts = [[ALERT]]
    deploy(cluster, "proxy")
    assert cluster.image("proxy") == NEW


def test_nothing_is_changed_where_alerts_cannot_be_read(cluster: FakeCluster) -> None:
    cluster.alerts = [None]
    with pytest.raises(RolloutError, match="no such service"):
        deploy(cluster, "proxy")
    assert "deployment/bff-proxy" not in cluster.objects


def test_a_monitoring_that_is_away_for_a_moment_changes_nothing_and_one_that_stays_away_takes_back(
    cluster: FakeCluster,
) -> None:
    deploy(cluster, "proxy", OLD)
    cluster.alerts = [[], *[None] * (UNREAD - 1), []]
    deploy(cluster, "proxy", watch=300)
    assert cluster.image("proxy") == NEW
    cluster.alerts = [[], None]
    with pytest.raises(RolloutError, match="back at revision 2"):
        deploy(cluster, "proxy", OLD, watch=300)
    assert cluster.image("proxy") == NEW


@pytest.mark.parametrize(
    ("labels", "part", "counts"),
    [
        ({"service": "proxy"}, "proxy", True),
        ({"service": "proxy"}, "aggregator", False),
        ({"service": "proxy"}, "origin", True),
        ({}, "wsrelay", True),
        ({"service": "proxy", "namespace": "bff-staging"}, "proxy", False),
        ({"service": "proxy", "namespace": "bff-production"}, "proxy", True),
    ],
)
def test_an_alert_counts_against_the_part_that_could_have_caused_it(
    labels: dict[str, str], part: str, counts: bool
) -> None:
    assert bool(concerning([{"alertname": "BffAny", **labels}], part, "bff-production")) is counts


def test_only_our_own_alerts_that_fire_are_looked_at() -> None:
    pending = {**ALERT, "state": "pending"}
    foreign = {"labels": {"alertname": "NodeDown"}, "state": "firing"}
    response = json.dumps({"data": {"alerts": [pending, foreign, ALERT]}})
    assert list(firing(response).values()) == [ALERT["labels"]]


def test_the_command_says_in_a_line_what_came_of_it(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["staging", "proxy", NEW], cluster) == 0
    assert capsys.readouterr().out == "proxy in staging: rolled out, unwatched\n"
    cluster.never_ready = {OLD}
    assert main(["staging", "proxy", OLD], cluster) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: kubectl rollout: timed out waiting for the condition; deployment/bff-proxy is back" in told.err
