"""Reads what only exports need from the files beside a production file: names, addresses, constraints as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.production.dialects.text import render_yaml
from orchestrator.production.layout import Layout
from orchestrator.production.load import Loaded
from orchestrator.production.model import Production
from orchestrator.production.naming import sanitise
from orchestrator.topology.located import load_document, plain_value

DRIFT_DETECTOR = "drift-detector"
"""Name of the drift detector among the images of containers.yaml."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A physical machine; addresses may be empty."""

    public_ip: str
    private_ip: str
    user: str


@dataclass(frozen=True, slots=True)
class PhysicalFacts:
    """What physical_nodes.yaml says about a resource, secret values left out.

    Attributes:
        front: The machine that the cluster is run from.
        workers: The other machines.
        store: Address of the object store.
        influx: Address of the InfluxDB, if there is a token for it too.
        bucket: Of cloud functions.
        region: Of cloud functions.
    """

    front: Machine | None = None
    workers: tuple[Machine, ...] = ()
    store: str = ""
    influx: str = ""
    bucket: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Companions:
    """What the files beside the production file say.

    Attributes:
        application: The application's name as monitoring knows it.
        monitored: The name that the constraints are kept under.
        constraints: Text of the quality-of-service constraints by layer; ``None`` for layers without their own.
        physical: By layer number and resource name in lower case.
        drift_image: Image of the drift detector; empty if there is none.
    """

    application: str
    monitored: str
    constraints: Mapping[int | None, str]
    physical: Mapping[tuple[int, str], PhysicalFacts] = field(default_factory=dict)
    drift_image: str = ""

    def constraints_of(self, layer: int) -> str:
        """The constraints that monitoring of a layer watches; empty if there are none."""
        return self.constraints.get(layer, self.constraints.get(None, ""))


def read_companions(loaded: Loaded, model: Production) -> Companions:
    """Read them; files that were found wrong have been reported by loading already."""
    layout = loaded.layout
    dag = mapping_at(read_plain(companion_file(layout, "dag")), "System", "system")
    application = sanitise(str(dag.get("name") or "")) or sanitise(model.name)
    monitored, constraints = _constraints(layout.qos, model, application)
    physical = _physical(companion_file(layout, "physical_nodes"))
    return Companions(application, monitored, constraints, physical, _drift_image(layout))


def companion_file(layout: Layout, key: str) -> Path | None:
    """The file that goes with a production file, if it is there."""
    return layout.files.get(key)


def read_plain(path: Path | None) -> Any:
    """The plain values of a YAML file; ``None`` if there is none or it cannot be read."""
    if path is None or not path.is_file():
        return None
    document = load_document(path)
    return plain_value(document.root) if document.root is not None else None


def mapping_at(value: Any, *keys: str) -> dict[str, Any]:
    """The mapping under the first of the keys that is there, else an empty one."""
    for key in keys:
        found = value.get(key) if isinstance(value, dict) else None
        if isinstance(found, dict):
            return found
    return {}


def physical_entries(path: Path | None) -> dict[tuple[int, str], dict[str, Any]]:
    """Entries of physical_nodes.yaml as written, by layer number and resource name in lower case."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for layer in mapping_at(read_plain(path), "ComputationalLayers").values():
        for entry in mapping_at(layer, "Resources").values():
            if isinstance(entry, dict) and isinstance(layer.get("number"), int):
                found[layer["number"], str(entry.get("name", "")).casefold()] = entry
    return found


def worker_entries(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of the worker machines of a resource."""
    workers = entry.get("wns")
    return [worker for worker in workers if isinstance(worker, dict)] if isinstance(workers, list) else []


def _physical(path: Path | None) -> dict[tuple[int, str], PhysicalFacts]:
    found = {}
    for place, entry in physical_entries(path).items():
        front = mapping_at(entry, "fe_node")
        influx, aws = mapping_at(entry, "influx"), mapping_at(entry, "aws")
        found[place] = PhysicalFacts(
            front=_machine(front) if front else None,
            workers=tuple(_machine(worker) for worker in worker_entries(entry)),
            store=_text(mapping_at(entry, "minio"), "endpoint").rstrip("/"),
            influx=_text(influx, "endpoint").rstrip("/") if influx.get("token") else "",
            bucket=_text(aws, "bucket"),
            region=_text(aws, "region"),
        )
    return found


def _machine(entry: dict[str, Any]) -> Machine:
    return Machine(_text(entry, "public_ip"), _text(entry, "private_ip"), _text(entry, "ssh_user"))


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return "" if value is None else str(value)


def _constraints(files: tuple[Path, ...], model: Production, application: str) -> tuple[str, Mapping[int | None, str]]:
    """The name that constraints are kept under, and their texts: as the files have them, else from the model."""
    found: dict[int | None, str] = {}
    name = ""
    for path in files:
        system = mapping_at(read_plain(path), "system", "System")
        number = path.stem.rpartition("_L")[2]
        layer = int(number) if number.isdigit() else None
        if "local_constraints" in system or "global_constraints" in system:
            written = str(system.get("name") or application).replace("_", "-")
            found[layer] = render_yaml({"system": {**system, "name": written}})
            name = name or written
    if not found and model.constraints:
        for layer in {None, *(constraint.layer for constraint in model.constraints)}:
            found[layer] = _constraints_of_model(model, layer, application)
    return name or application, found


def _constraints_of_model(model: Production, layer: int | None, application: str) -> str:
    """Those of a layer and those of the whole application."""
    local, whole = {}, {}
    watched = [constraint for constraint in model.constraints if constraint.layer in (None, layer)]
    for number, constraint in enumerate(watched, start=1):
        if constraint.is_global:
            whole[f"global_constraint_{number}"] = {
                "path_components": list(constraint.components),
                "threshold": constraint.threshold,
            }
        else:
            local[f"local_constraint_{number}"] = {
                "component_name": constraint.components[0],
                "threshold": constraint.threshold,
            }
    return render_yaml({"system": {"name": application, "local_constraints": local, "global_constraints": whole}})


def _drift_image(layout: Layout) -> str:
    """Image of the drift detector that was built for the application."""
    path = companion_file(layout, "containers") or layout.root / "aisprint" / "designs" / "containers.yaml"
    listed = mapping_at(mapping_at(read_plain(path), "components"), DRIFT_DETECTOR).get("docker_images")
    return str(listed[0]) if isinstance(listed, list) and listed else ""
