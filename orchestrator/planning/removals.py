"""Removals in an order in which nothing goes before what needs it, nor before what takes its place. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.graph import DependencyCycleError, topological_order
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Change
from orchestrator.planning.records import HOST, MACHINE, generation_of, instance_of_record, targets_of
from orchestrator.planning.successors import successors_of
from orchestrator.state.former import former_generation, is_former, present_address
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.types import EXISTING

_STOP = "stop"


@dataclass(frozen=True, slots=True)
class Going:
    """What is to be removed, and what is done beside it.

    Attributes:
        gone: Records to be removed, former instances among them, by address.
        records: All records of the state.
        changes: What is done to everything that is wanted, by address.
        reason: Why, for what has no better reason.
        observed: What a refresh saw, by address.
    """

    gone: Mapping[str, InstanceRecord]
    records: Mapping[str, InstanceRecord]
    changes: Mapping[str, Change]
    reason: str
    observed: Mapping[str, Observation] = field(default_factory=dict)


def plan_removals(going: Going) -> dict[str, Change]:
    """A change for everything that is to be removed, in an order in which it can be done."""
    if not going.gone:
        return {}
    instances = {address: instance_of_record(record) for address, record in going.gone.items()}
    needed_by = _needed_by(going.gone)
    rewired = _rewired(going)
    aliases = _aliases(instances)
    for alias, address in aliases.items():
        for waits in (needed_by, rewired):
            waits[address] += [a for a in waits[alias] if a != address]
    successors = successors_of(going.gone, going.records, going.changes, needed_by)
    disposed = _disposed(going.gone)
    twins = {
        name: address
        for address, change in going.changes.items()
        if (name := _name_on_host(change.instance)) is not None
    }
    found: dict[str, Change] = {}
    for address in _order(needed_by, going.gone):
        record, instance = going.gone[address], instances[address]
        name = _name_on_host(instance)
        twin = twins.get(name) if name else None
        before = [*needed_by[address], *rewired[address], *((twin,) if twin else ())]
        reasons: tuple[str, ...]
        if twin:
            action, reasons = Action.FORGET, (f"{twin} takes its place on the same host",)
        elif address in aliases:
            action, reasons = Action.FORGET, (f"it goes with {aliases[address]}, which is the same",)
        else:
            action, reasons = _how(record, address in disposed and not _has_to_stop(instance, going), going)
        after = successors.get(address, ())
        if before:
            after = tuple(dict.fromkeys((*before, *after)))
        found[address] = Change(address, record.type, action, reasons, instance, after)
    return found


def _order(needed_by: dict[str, list[str]], gone: Mapping[str, InstanceRecord]) -> tuple[str, ...]:
    """What needs something before that; takes needs out of ``needed_by`` until there is no circle.

    There may be one after wiring was turned round by a run that was cut off: what was not rewired to the end may rely
    on the old or the new, so that its needs are doubtful, and the first to be given up.
    """
    while True:
        try:
            return topological_order(needed_by)
        except DependencyCycleError as circle:
            needs = list(zip(circle.cycle, (*circle.cycle[1:], circle.cycle[0]), strict=True))
            target, needing = next((n for n in needs if gone[n[1]].pending is not None), needs[-1])
            needed_by[target] = [address for address in needed_by[target] if address != needing]


def _aliases(instances: Mapping[str, DesiredInstance]) -> dict[str, str]:
    """Address of a record to that of a later one of the same object, which stands for both.

    So after something moved back to where a former one was left, or after a run was cut off as it began a move.
    """
    latest: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    # The present one last: a former one has a generation above 0.
    for address in sorted(instances, key=lambda a: former_generation(a) or sys.maxsize):
        name = _name_on_host(instances[address])
        if name is not None:
            latest[name] = address
    for address, instance in instances.items():
        name = _name_on_host(instance)
        if name is not None and latest[name] != address:
            aliases[address] = latest[name]
    return aliases


def _name_on_host(instance: DesiredInstance) -> tuple[object, ...] | None:
    """By what a host tells an object from its others; two with the same one are one object."""
    hosts = instance.requirements.get(HOST)
    name = str(instance.properties.get("service") or present_address(instance.address))
    return (instance.type, hosts, name) if hosts else None


def _has_to_stop(instance: DesiredInstance, going: Going) -> bool:
    """Whether it comes to a stop although its machines go: it may have something to finish, or to hand over.

    Not so where nothing stays to hand over to, and for what was found to be away.
    """
    return _STOP in instance.operations and bool(going.changes) and _answers(instance, going.observed)


def _answers(instance: DesiredInstance, observed: Mapping[str, Observation]) -> bool:
    """Whether it, or else what it is hosted on, was found to answer; drift alone keeps nothing from working."""
    seen = observed.get(instance.address, observed.get(present_address(instance.address)))
    if seen is None or seen.presence is Presence.PRESENT:
        return True
    hosts = [observed.get(host) for host in instance.requirements.get(HOST, ())]
    return seen.presence is not Presence.MISSING and all(h and h.presence is Presence.PRESENT for h in hosts)


def _how(record: InstanceRecord, goes_along: bool, going: Going) -> tuple[Action, tuple[str, ...]]:
    moved = is_former(record.address) and present_address(record.address) in going.changes
    reason = "moved away" if moved else going.reason
    if _is_somebody_elses(record):
        return Action.FORGET, (reason, "somebody else looks after it")
    return (Action.FORGET, (reason, "goes with its machines")) if goes_along else (Action.DELETE, (reason,))


def _is_somebody_elses(record: InstanceRecord) -> bool:
    """Whether it was only looked at, so that there is nothing to remove."""
    operations = instance_of_record(record).operations.values()
    return bool(operations) and all(operation.artifact_type == EXISTING for operation in operations)


def _needed_by(gone: Mapping[str, InstanceRecord]) -> dict[str, list[str]]:
    """Address to the addresses that go as well and rely on it."""
    formers: dict[str, list[str]] = {}
    for address in gone:
        if is_former(address):
            formers.setdefault(present_address(address), []).append(address)
    needed_by: dict[str, list[str]] = {address: [] for address in gone}
    for record in gone.values():
        for dependency in record.dependencies:
            for target in _meant(record, dependency, gone, formers.get(dependency, ())):
                needed_by[target].append(record.address)
    return needed_by


def _meant(
    record: InstanceRecord, dependency: str, gone: Mapping[str, InstanceRecord], formers: Iterable[str]
) -> tuple[str, ...]:
    """Which objects a record relies on by an address: that of the generation it was wired to, or any that it may be."""
    generation = generation_of(record, dependency)
    present = (dependency,) if dependency in gone else ()
    possible = (*present, *formers)
    if generation is None:
        return possible
    return tuple(a for a in possible if gone[a].generation == generation) or present


def _rewired(going: Going) -> dict[str, list[str]]:
    """Address that goes to the changes by which what relied on it comes to rely on something else."""
    generations: dict[str, list[str]] = {}
    for address in going.gone:
        generations.setdefault(present_address(address), []).append(address)
    rewired: dict[str, list[str]] = {address: [] for address in going.gone}
    for present, addresses in generations.items():
        change = going.changes.get(present)
        if change is not None and not change.is_noop:
            for address in addresses:
                rewired[address].append(present)
    for address, change in going.changes.items():
        record = going.records.get(address)
        if record is None or change.is_noop:
            continue
        for dependency in record.dependencies:
            for target in generations.get(dependency, ()):
                if target == dependency or generation_of(record, dependency) in (None, former_generation(target)):
                    rewired[target].append(address)
    return rewired


def _disposed(gone: Mapping[str, InstanceRecord]) -> set[str]:
    """Addresses hosted, directly or not, only on disposable machines that go as well."""
    disposed: set[str] = set()
    for address in topological_order({a: r.dependencies for a, r in gone.items()}):
        record = gone[address]
        hosts = (*targets_of(record, MACHINE), *targets_of(record, HOST))
        if hosts and all(h in disposed or _is_disposable_machine(gone.get(h)) for h in hosts):
            disposed.add(address)
    return disposed


def _is_disposable_machine(record: InstanceRecord | None) -> bool:
    return record is not None and bool(record.provider) and record.inputs.get("disposable") is True
