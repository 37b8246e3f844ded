"""State and topology → manifest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from orchestrator.manifest.ends import first_services, last_services
from orchestrator.manifest.model import (
    SCHEMA_VERSION,
    UNREACHABLE,
    Manifest,
    ManifestCluster,
    ManifestComponent,
    ManifestNode,
    ManifestStorePath,
)
from orchestrator.planning.at_work import services_at_work
from orchestrator.planning.substitution import Substitution
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord, State
from orchestrator.topology.model import Value


def build_manifest(state: State, substitutions: Iterable[Substitution], folder: Path) -> Manifest:
    """The manifest of a deployment.

    Args:
        state: Its state; what an instance is shows in its attributes, not in the name of its type.
        substitutions: What is not as in production.
        folder: The deployment's folder, which relative paths in the state start from.
    """
    records = {address: record for address, record in state.instances.items() if not is_former(address)}
    clusters = sorted((r for r in records.values() if "kubeconfig" in r.attributes), key=lambda r: r.address)
    at_work = services_at_work(state.instances)
    services = [r for r in at_work.values() if "image_digest" in r.attributes]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        deployment=state.deployment,
        serial=state.serial,
        profile=state.profile,
        clusters=tuple(_cluster(record, state, services, folder) for record in clusters),
        components=tuple(sorted((_component(r, state) for r in services), key=lambda c: (c.layer, c.name))),
        substitutions=tuple(substitutions),
        inputs=_each(path for r in first_services(at_work, state) for path in _store_paths(r.attributes.get("inputs"))),
        outputs=_each(path for r in last_services(at_work) for path in _store_paths(r.attributes.get("outputs"))),
    )


def _each(paths: Iterable[ManifestStorePath]) -> tuple[ManifestStorePath, ...]:
    return tuple(dict.fromkeys(paths))


def _targets(record: InstanceRecord, requirement: str) -> tuple[str, ...]:
    targets = record.inputs.get(f"requirements.{requirement}", [])
    return tuple(str(t) for t in targets) if isinstance(targets, list) else ()


def _text(record: InstanceRecord, key: str) -> str:
    value = record.attributes.get(key, "")
    return "" if value is None else str(value)


def _cluster(record: InstanceRecord, state: State, services: list[InstanceRecord], folder: Path) -> ManifestCluster:
    hosted = [r for r in state.instances.values() if record.address in _targets(r, "host")]
    runtime = next((r for r in hosted if "store_endpoint" in r.attributes), None)
    layers = {_layer(s) for s in services if runtime and runtime.address in _targets(s, "host")}
    machines = [state.instances[a] for a in _targets(record, "machine") if a in state.instances]
    return ManifestCluster(
        name=record.address,
        layers=tuple(sorted(layers)),
        api_endpoint=_text(record, "api_endpoint"),
        kubeconfig=str(folder / _text(record, "kubeconfig")),
        nodes=tuple(
            ManifestNode(m.address, _text(m, "hostname"), _text(m, "host"), _node_state(m, record)) for m in machines
        ),
        oscar_endpoint=_text(runtime, "endpoint") if runtime else "",
        store_endpoint=_text(runtime, "store_endpoint") if runtime else "",
        ca_certificate=_text(runtime, "ca_cert") if runtime else "",
    )


def _node_state(machine: InstanceRecord, cluster: InstanceRecord) -> str:
    """The machine's lifecycle state, or that its cluster has to do without it."""
    missing = cluster.attributes.get("degraded")
    return UNREACHABLE if isinstance(missing, list) and machine.address in missing else machine.lifecycle.value


def _component(record: InstanceRecord, state: State) -> ManifestComponent:
    runtime = next(iter(_targets(record, "host")), "")
    cluster = next(iter(_targets(state.instances[runtime], "host")), "") if runtime in state.instances else ""
    image = next((state.instances[a] for a in _targets(record, "image") if a in state.instances), None)
    return ManifestComponent(
        name=str(record.inputs.get("properties.component", record.node)),
        layer=_layer(record),
        cluster=cluster,
        image=_text(image, "reference") if image else "",
        image_digest=_text(record, "image_digest"),
        service=str(record.inputs.get("properties.service", "")),
        service_endpoint=_text(record, "endpoint"),
        inputs=_store_paths(record.attributes.get("inputs")),
        outputs=_store_paths(record.attributes.get("outputs")),
        state=record.lifecycle.value,
    )


def _layer(record: InstanceRecord) -> int:
    layer = record.inputs.get("properties.layer", 0)
    return layer if isinstance(layer, int) else 0


def _store_paths(value: Value) -> tuple[ManifestStorePath, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        ManifestStorePath(str(v.get("store", "")), str(v.get("path", ""))) for v in value if isinstance(v, dict)
    )
