"""Compares what is wanted, recorded and seen, and says what to do and why. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.graph import topological_order
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.substitution import Substitution
from orchestrator.state.model import InstanceRecord, Lifecycle, State

_RENEWING = (Action.CREATE, Action.REPLACE)

MACHINE, HOST = "machine", "host"
"""Requirements by which a node is hosted on another: it goes with it, and moving it makes another object."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted: instances by address, and what the profile put in the place of the real thing."""

    profile: str
    instances: Mapping[str, DesiredInstance]
    substitutions: tuple[Substitution, ...] = ()


def plan_apply(
    deployment: str,
    wanted: Wanted,
    prior: State | None,
    observed: Mapping[str, Observation],
    replace: Sequence[str] = (),
) -> Plan:
    """Plan to make everything as wanted.

    Args:
        deployment: Name of the deployment.
        wanted: Desired instances and substitutions.
        prior: The state, ``None`` if there is none yet.
        observed: What a refresh saw, by address; an address that is missing here is taken to be as recorded.
        replace: Addresses to make anew although nothing asks for it.

    Returns:
        A plan over the desired instances and those that are recorded and no longer wanted.
    """
    records = prior.instances if prior else {}
    changes: dict[str, Change] = {}
    for address in topological_order({a: i.dependencies for a, i in wanted.instances.items()}):
        instance = wanted.instances[address]
        action, reasons = _decide(instance, records.get(address), observed.get(address), changes)
        if address in replace and action in (Action.NO_OP, Action.UPDATE):
            action, reasons = Action.REPLACE, ("replacement asked for",)
        after = tuple(d for d in instance.dependencies if d in changes)
        changes[address] = Change(address, instance.type, action, reasons, instance, after)
    gone = {a: r for a, r in records.items() if a not in wanted.instances}
    for change in _removals(gone, changes, "no longer wanted").values():
        changes[change.address] = change
    return Plan(
        deployment=deployment,
        lineage=prior.lineage if prior else "",
        serial=prior.serial if prior else 0,
        profile=wanted.profile,
        changes=changes,
        substitutions=wanted.substitutions,
    )


def plan_destroy(prior: State) -> Plan:
    """Plan to remove everything that is recorded, in the reverse order of making."""
    return Plan(
        deployment=prior.deployment,
        lineage=prior.lineage,
        serial=prior.serial,
        profile=prior.profile,
        changes=_removals(prior.instances, {}, "destroy"),
    )


def _decide(
    instance: DesiredInstance,
    record: InstanceRecord | None,
    seen: Observation | None,
    changes: Mapping[str, Change],
) -> tuple[Action, tuple[str, ...]]:
    if record is None:
        return Action.CREATE, ("not there yet",)
    if record.lifecycle is Lifecycle.INITIAL:
        return Action.CREATE, ("an earlier run was cut off while making it",)
    if seen is not None and seen.presence is Presence.MISSING:
        return Action.CREATE, (f"lost: {seen.detail}" if seen.detail else "lost",)
    renewed = [d for d in instance.dependencies if d in changes and changes[d].action in _RENEWING]
    if record.type != instance.type or record.provider != instance.provider:
        return Action.REPLACE, (f"was {record.type} of {record.provider or 'no provider'}",)
    reasons = []
    if record.pending is not None or record.lifecycle is not Lifecycle.STARTED:
        reasons.append(f"an earlier run left it {record.lifecycle.value}")
    if seen is not None and seen.presence is Presence.DEGRADED:
        reasons.append(seen.detail or "not as it should be")
    reasons.extend(f"{d} is {'made anew' if d in record.dependencies else 'new'}" for d in renewed)
    reasons.extend(
        f"{d} is mended" for d in instance.dependencies if d in changes and _is_mended(changes[d], record, d)
    )
    differing = _differences(record.inputs, instance.inputs)
    reasons.extend(differing)
    if not reasons:
        return Action.NO_OP, ("as wanted",)
    return (Action.REPLACE if differing and _must_be_replaced(instance, record) else Action.UPDATE), tuple(reasons)


def _must_be_replaced(instance: DesiredInstance, record: InstanceRecord) -> bool:
    """Whether other inputs need another object.

    So for what a provider makes and nothing configures in place, and for what moves to another host, where the old one
    would stay behind.
    """
    hosts = list(instance.requirements.get(HOST, ()))
    moved = record.inputs.get(f"requirements.{HOST}", hosts) != hosts
    return moved or (bool(instance.provider) and "configure" not in instance.operations)


def _is_mended(change: Change, record: InstanceRecord, dependency: str) -> bool:
    return change.action is Action.UPDATE and bool(change.instance.provider) and dependency in record.dependencies


def _differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """One phrase for every input that differs, in the order of the wanted ones."""
    found = []
    for key in dict.fromkeys((*after, *before)):
        name = key.partition(".")[2] or key
        if key not in before:
            found.append(f"{name!r} added")
        elif key not in after:
            found.append(f"{name!r} removed")
        elif before[key] != after[key]:
            found.append(f"{name!r} changed: {_short(before[key])} → {_short(after[key])}")
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:18] + "…" + text[-18:]


def _removals(gone: Mapping[str, InstanceRecord], others: Mapping[str, Change], reason: str) -> dict[str, Change]:
    """Removals in an order in which nothing goes before what needs it, nor before what is made or rewired instead."""
    needed_by: dict[str, list[str]] = {address: [] for address in gone}
    for record in gone.values():
        for dependency in record.dependencies:
            if dependency in needed_by:
                needed_by[dependency].append(record.address)
    order = topological_order(needed_by)
    changes: dict[str, Change] = {}
    disposed = _disposed(gone)
    busy = [a for a, c in others.items() if not c.is_noop]
    for address in order:
        record = gone[address]
        instance = instance_of_record(record)
        goes_along = address in disposed
        changes[address] = Change(
            address,
            record.type,
            Action.FORGET if goes_along else Action.DELETE,
            (reason, "goes with its machines") if goes_along else (reason,),
            instance,
            (*needed_by[address], *busy),
        )
    return changes


def _disposed(gone: Mapping[str, InstanceRecord]) -> set[str]:
    """Addresses hosted, directly or not, only on disposable machines that go as well."""
    disposed: set[str] = set()
    for address in topological_order({a: r.dependencies for a, r in gone.items()}):
        record = gone[address]
        hosts = [d for d in record.dependencies if d in _hosting(record)]
        if hosts and all(h in disposed or _is_disposable_machine(gone.get(h)) for h in hosts):
            disposed.add(address)
    return disposed


def _hosting(record: InstanceRecord) -> set[str]:
    found: set[str] = set()
    for name in (MACHINE, HOST):
        targets = record.inputs.get(f"requirements.{name}")
        if isinstance(targets, list):
            found.update(str(t) for t in targets)
    return found


def _is_disposable_machine(record: InstanceRecord | None) -> bool:
    return record is not None and bool(record.provider) and record.inputs.get("disposable") is True


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
    )
