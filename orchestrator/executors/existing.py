"""Adopts what somebody else looks after: it is asked whether it is as it has to be, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.clients.kubernetes import ClusterNode, Kubeconfig, KubernetesClient, KubernetesError, parse_kubeconfig
from orchestrator.clients.oscar import observe_oscar
from orchestrator.errors import DeployError, OperationError
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.oscar_host import OscarHost
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.drift import in_words
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import SecretResolver
from orchestrator.topology.model import Value
from orchestrator.topology.types import EXISTING

_TIMEOUT = 20.0
_LOOK_TIMEOUT = 4.0
_CREDENTIALS = frozenset({"kubeconfig", "api_token", "ca_cert"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of thing is looked at."""

    adopt: Callable[[OperationRequest], dict[str, Value]]
    observe: Callable[[OperationRequest], Observation]


class ExistingExecutor:
    """Runs the one operation that such things have, a look; the implementation's file says of what kind it is."""

    def run(self, request: OperationRequest) -> OperationResult:
        """Look whether it is as it has to be, and note how it is reached.

        Raises:
            OperationError: If it is not, or cannot be asked.
        """
        if request.operation not in ("create", "configure", "start"):
            raise OperationError(
                "What somebody else looks after is not removed.",
                detail=f"{request.instance.address}: operation {request.operation} was asked for.",
                resolution="Correct the node type or the profile: such nodes have no operation that removes.",
            )
        return OperationResult(_kind(request).adopt(request), changed=False)

    def observe(self, request: OperationRequest) -> Observation:
        """The same look, within 5 s."""
        try:
            return _kind(request).observe(request)
        except DeployError as cause:
            return Observation(Presence.DEGRADED, f"{cause.summary} {cause.detail}".strip())


def missing_access(instance: DesiredInstance) -> str:
    """Why something that is there already cannot be asked, as a clause; empty if it can."""
    files = {o.file for o in instance.operations.values() if o.artifact_type == EXISTING}
    said = {name for name, value in instance.properties.items() if value}
    if "cluster" in files and not said & {"kubeconfig", "endpoint"}:
        return "its cluster is there already, and neither a kubeconfig nor an endpoint of its API is given"
    if "oscar" in files and "endpoint" not in said:
        return "its OSCAR is there already, and its endpoint is not given"
    return ""


def unused_credentials(instance: DesiredInstance) -> frozenset[str]:
    """Properties that say how something is reached, if something is made in its place, as in a rehearsal."""
    is_looked_at = any(o.artifact_type == EXISTING for o in instance.operations.values())
    return frozenset() if is_looked_at else _CREDENTIALS


def _kind(request: OperationRequest) -> _Kind:
    return _KINDS[request.implementation.file]


def _adopt_machine(request: OperationRequest) -> dict[str, Value]:
    """Where it is, if that is said; nobody logs in to it."""
    hosts = request.instance.properties.get("hosts")
    entry = hosts[request.instance.index] if isinstance(hosts, list) and request.instance.index < len(hosts) else None
    return {"host": entry["host"]} if isinstance(entry, dict) and entry.get("host") else {}


def _observe_machine(_request: OperationRequest) -> Observation:
    return Observation(Presence.UNKNOWN, "somebody else looks after it")


def _adopt_cluster(request: OperationRequest) -> dict[str, Value]:
    access = _access(request)
    try:
        nodes = KubernetesClient(access, _TIMEOUT).read_nodes()
    except KubernetesError as cause:
        raise _unusable(request, cause.detail) from cause
    if not any(node.ready for node in nodes):
        raise _unusable(request, f"{access.server} answers, but none of its {len(nodes)} nodes is ready.")
    wanted = str(request.instance.properties.get("wanted_version") or "")
    others = [node for node in nodes if not node.version.startswith(wanted)]
    if others:
        named = ", ".join(f"{node.name} {node.version}" for node in others)
        raise _unusable(request, f"It has to have version {wanted}, and there are: {named}.")
    machines = len(request.instance.requirements.get("machine", ()))
    if len(nodes) < machines:
        request.progress(f"the cluster has {len(nodes)} nodes, fewer than the {machines} that the input speaks of")
    found: dict[str, Value] = {"api_endpoint": access.server, "k3s_version": _versions(nodes)}
    found["nodes"] = [node.name for node in nodes]
    kind, _, place = str(request.instance.properties.get("kubeconfig") or "").partition(":")
    if kind == "file":  # it stays where it is
        found["kubeconfig"] = str(Path(place).expanduser())
    return found


def _observe_cluster(request: OperationRequest) -> Observation:
    nodes = KubernetesClient(_access(request), _LOOK_TIMEOUT).read_nodes()
    recorded = request.record.attributes
    names = recorded.get("nodes")
    ready = {node.name: node.ready for node in nodes}
    states = {
        str(name): ("ready" if ready[str(name)] else "not ready") if name in ready else None
        for name in (names if isinstance(names, list) else list(ready))
    }
    differences = [Difference(f"nodes.{name}", "ready", state) for name, state in states.items() if state != "ready"]
    version = _versions(nodes)
    if recorded.get("k3s_version") not in (None, version):
        differences.append(Difference("k3s_version", recorded["k3s_version"], version))
    if differences:
        return Observation(Presence.DEGRADED, in_words(differences), differences=tuple(differences))
    return Observation(Presence.PRESENT, f"{len(ready)} node{'s' if len(ready) != 1 else ''} ready")


def _versions(nodes: Sequence[ClusterNode]) -> str:
    return ", ".join(sorted({node.version for node in nodes}))


def _access(request: OperationRequest) -> Kubeconfig:
    """How the cluster is reached; every credential comes from where its reference points to, at this moment."""
    address, properties = request.instance.address, request.instance.properties

    def resolve(name: str) -> str:
        value = str(properties.get(name) or "")
        where = f"{address}: property {name!r}"
        return SecretResolver(request.secrets, request.instance.secret_versions).resolve(value, where) if value else ""

    text = resolve("kubeconfig")
    if text:
        return parse_kubeconfig(text, f"The kubeconfig of {address}", str(properties.get("context") or ""))
    endpoint = str(properties.get("endpoint") or "")
    if urlsplit(endpoint).scheme != "https":
        raise _unusable(request, "Nothing says how it is reached.")
    return Kubeconfig(endpoint, resolve("ca_cert"), token=resolve("api_token"))


def _unusable(request: OperationRequest, detail: str) -> OperationError:
    return OperationError(
        "A cluster that is there already cannot be used.",
        detail=f"{request.instance.address}: {detail} Nothing was changed on it.",
        resolution="Ask whoever looks after it, or correct `kubernetes` of its resource in physical_nodes.yaml.",
        doc="docs/machines.md",
    )


def _adopt_oscar(request: OperationRequest) -> dict[str, Value]:
    properties = request.instance.properties
    resolver = SecretResolver(request.secrets, request.instance.secret_versions)
    where = f"{request.instance.address}: property 'ca_cert'"
    authority = resolver.resolve(str(properties["ca_cert"]), where) if properties.get("ca_cert") else ""
    found: dict[str, Value] = {
        name: properties[name] for name in ("endpoint", "store_endpoint", "user") if properties.get(name)
    }
    found["ca_cert"] = authority
    host = OscarHost.of(_with_attributes(request, found), request.secrets, timeout=_TIMEOUT)
    host.client.check_health()
    host.client.read_version()
    return found


def _observe_oscar(request: OperationRequest) -> Observation:
    return observe_oscar(request.record)


def _with_attributes(request: OperationRequest, attributes: dict[str, Value]) -> InstanceRecord:
    return replace(request.record, attributes={**request.record.attributes, **attributes})


_KINDS = {
    "machine": _Kind(_adopt_machine, _observe_machine),
    "cluster": _Kind(_adopt_cluster, _observe_cluster),
    "oscar": _Kind(_adopt_oscar, _observe_oscar),
}
"""By the file of the artifact."""
