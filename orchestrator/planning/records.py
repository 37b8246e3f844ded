"""What a record of the state tells a planner: what it was made from, where it is, what relies on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.planning.desired import DesiredInstance, Operation, secret_versions_of
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

MACHINE, HOST = "machine", "host"
"""Requirements by which a node is hosted on another: it goes with it, and moving it makes another object."""

FRONT = "front"
"""The requirement of a machine for another one through which it is reached."""

CONNECTS_TO = "connects_to"
"""The requirement by which a node's results go to another: its wiring, which is changed in place."""


def targets_of(record: InstanceRecord, requirement: str) -> tuple[str, ...]:
    """Addresses that a requirement pointed to when the record was made."""
    targets = record.inputs.get(f"requirements.{requirement}")
    return tuple(str(t) for t in targets) if isinstance(targets, list) else ()


def properties_of(record: InstanceRecord) -> dict[str, Value]:
    """Properties that the record was made with, by name."""
    return {k.removeprefix("properties."): v for k, v in record.inputs.items() if k.startswith("properties.")}


def generation_of(record: InstanceRecord, dependency: str) -> int | None:
    """Generation of the object that a record relies on by an address; ``None`` if it may be any.

    While an action is pending it is not known whether what is recorded has been told of a newer one yet.
    """
    return record.wired.get(dependency) if record.pending is None else None


def machines_under(record: InstanceRecord, records: Mapping[str, InstanceRecord]) -> frozenset[str]:
    """Recorded machines that something is hosted on, directly or not."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [record]
    while waiting:
        present = waiting.pop()
        for address in (*targets_of(present, MACHINE), *targets_of(present, HOST)):
            below = records.get(address)
            if below is None or address in seen:
                continue
            seen.add(address)
            waiting.append(below)
            if below.provider:
                found.add(address)
    return frozenset(found)


def is_rehosted(instance: DesiredInstance, record: InstanceRecord) -> bool:
    """Whether what is wanted is hosted elsewhere than what is recorded, so that it is another object."""
    recorded = record.inputs.get(f"requirements.{HOST}")
    return recorded is not None and recorded != list(instance.requirements.get(HOST, ()))


def instance_of_record(record: InstanceRecord) -> DesiredInstance:
    """The instance a record was made from, so that it can be observed or removed after nobody wants it any longer."""
    properties, settings, requirements = {}, {}, {}
    operations: dict[str, Operation] = {}
    for key, value in record.inputs.items():
        kind, _, name = key.partition(".")
        if kind == "properties":
            properties[name] = value
        elif kind == "settings":
            settings[name] = value
        elif kind == "requirements" and isinstance(value, list):
            requirements[name] = tuple(str(v) for v in value)
        elif kind == "operations" and "." not in name:
            artifact_type, _, file = str(value).partition(":")
            prefix = f"{key}."
            inputs = {k.removeprefix(prefix): v for k, v in record.inputs.items() if k.startswith(prefix)}
            operations[name] = Operation(name, artifact_type, file, inputs)
    return DesiredInstance(
        address=record.address,
        node=record.node,
        type=record.type,
        index=int(record.address.rpartition("[")[2][:-1]) if record.address.endswith("]") else 0,
        provider=record.provider,
        disposable=record.inputs.get("disposable") is True,
        properties=properties,
        settings=settings,
        requirements=requirements,
        operations=operations,
        secret_versions=secret_versions_of(record.inputs),
    )
