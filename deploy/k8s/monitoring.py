"""What Prometheus Operator needs to watch an environment.

    python -m deploy.k8s.monitoring ENVIRONMENT [--namespace monitoring] | kubectl apply -f -

A ServiceMonitor that gives the series the labels which rules, dashboard and autoscalers go by, a PrometheusRule with
the very rules of `deploy/prometheus/rules`, and a Role in Prometheus's namespace by which the deployer reads alerts.
"""

import argparse
import sys
from typing import Any, Final

import yaml

from deploy.k8s.manifests import ENVIRONMENTS, HERE, Manifest

RULES: Final = HERE.parent / "prometheus/rules"
LABELS: Final = {"app.kubernetes.io/name": "monitoring", "app.kubernetes.io/part-of": "bff"}
PROMETHEUS: Final = "prometheus-operated:9090"
RELABELINGS: Final = [
    {"targetLabel": "job", "replacement": "bff"},
    {"sourceLabels": ["__meta_kubernetes_pod_label_app_kubernetes_io_name"], "targetLabel": "service"},
    {"sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "namespace"},
    {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "pod"},
]


def rule_groups() -> list[dict[str, Any]]:
    """Return the groups of all rule files, as they are."""
    return [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]


def objects(environment: str, monitoring: str) -> list[Manifest]:
    """Return the objects for an environment whose Prometheus runs in the namespace `monitoring`."""
    namespace = f"bff-{environment}"
    own = {"namespace": namespace, "labels": LABELS}
    reads = {"name": f"{namespace}-reads-alerts", "namespace": monitoring, "labels": LABELS}
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": {"name": "bff", **own},
            "spec": {
                "selector": {
                    "matchLabels": {"app.kubernetes.io/part-of": "bff"},
                    "matchExpressions": [
                        {
                            "key": "app.kubernetes.io/name",
                            "operator": "In",
                            "values": ["proxy", "aggregator", "wsrelay"],
                        }
                    ],
                },
                "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s", "relabelings": RELABELINGS}],
            },
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "bff", **own},
            "spec": {"groups": rule_groups()},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": reads,
            "rules": [
                {"apiGroups": [""], "resources": ["services/proxy"], "resourceNames": [PROMETHEUS], "verbs": ["get"]}
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": reads,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": reads["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": "bff-deployer", "namespace": namespace}],
        },
    ]


def main() -> int:
    """Print the objects for an environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", choices=ENVIRONMENTS)
    parser.add_argument("--namespace", default="monitoring", help="where Prometheus runs")
    arguments = parser.parse_args()
    yaml.safe_dump_all(objects(arguments.environment, arguments.namespace), sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
