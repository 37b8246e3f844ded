"""The kinds of objects that there are, and how they are named."""

from __future__ import annotations

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of object as the API lists it."""

    version: str
    plural: str
    name: str
    namespaced: bool = True
    short: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """Path of its group and version."""
        return f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"


BUILT_IN = (
    Kind("v1", "nodes", "Node", namespaced=False, short=("no",)),
    Kind("v1", "namespaces", "Namespace", namespaced=False, short=("ns",)),
    Kind("v1", "secrets", "Secret"),
    Kind("v1", "configmaps", "ConfigMap", short=("cm",)),
    Kind("v1", "services", "Service", short=("svc",)),
    Kind("v1", "serviceaccounts", "ServiceAccount", short=("sa",)),
    Kind("v1", "pods", "Pod", short=("po",)),
    Kind("v1", "events", "Event", short=("ev",)),
    Kind("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",)),
    Kind("v1", "persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",)),
    Kind("apps/v1", "deployments", "Deployment", short=("deploy",)),
    Kind("apps/v1", "daemonsets", "DaemonSet", short=("ds",)),
    Kind("apps/v1", "statefulsets", "StatefulSet", short=("sts",)),
    Kind("apps/v1", "replicasets", "ReplicaSet", short=("rs",)),
    Kind("batch/v1", "jobs", "Job"),
    Kind("batch/v1", "cronjobs", "CronJob", short=("cj",)),
    Kind("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Kind("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Kind("networking.k8s.io/v1", "ingresses", "Ingress", short=("ing",)),
    Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short=("netpol",)),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",)),
    Kind("storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False, short=("sc",)),
    Kind("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False, short=("pc",)),
    Kind(
        "apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition",
        namespaced=False, short=("crd", "crds"),
    ),
    Kind("helm.cattle.io/v1", "helmcharts", "HelmChart"),
    Kind("helm.cattle.io/v1", "helmchartconfigs", "HelmChartConfig"),
    Kind("k3s.cattle.io/v1", "addons", "Addon"),
)  # fmt: skip
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
OWNER = "objectset.rio.cattle.io/owner-name"
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class ApiError(Exception):
    """An answer of the API that says no."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


def object_key(kind: Kind, namespace: str, name: str) -> str:
    """Under what an object is kept."""
    return f"{kind.version}|{kind.plural}|{namespace if kind.namespaced else ''}|{name}"


def group_plural(kind: Kind) -> str:
    """``deployments.apps``, as messages name a resource."""
    group = kind.version.rpartition("/")[0]
    return f"{kind.plural}.{group}" if group else kind.plural


def names_of(kind: Kind) -> set[str]:
    """What one may call a kind."""
    return {kind.plural, kind.name.lower(), *kind.short}


def wanted_replicas(owner: dict[str, Any]) -> int:
    """How many pods a workload asks for, one on each node for a DaemonSet not counted here."""
    spec = owner.get("spec", {})
    given = spec.get("parallelism" if owner["kind"] == "Job" else "replicas")
    return 1 if given is None else int(given)
