"""Compares what is wanted, recorded and seen, and says what to do and why. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.actions import Action
from orchestrator.planning.decide import Known, decide
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.graph import topological_order
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Change, Plan, reason_unasked
from orchestrator.planning.records import HOST, MACHINE, instance_of_record, targets_of
from orchestrator.planning.removals import Going, plan_removals
from orchestrator.planning.selection import narrowed, select
from orchestrator.planning.substitution import Substitution
from orchestrator.state.model import InstanceRecord, Lifecycle, State

__all__ = ["HOST", "MACHINE", "Wanted", "instance_of_record", "plan_apply", "plan_destroy", "plan_refresh"]


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
    targets: Sequence[str] = (),
) -> Plan:
    """Plan to make everything as wanted.

    Args:
        deployment: Name of the deployment.
        wanted: Desired instances and substitutions.
        prior: The state, ``None`` if there is none yet.
        observed: What a refresh saw, by address; an address that is missing here is taken to be as recorded.
        replace: Addresses, node templates or components to make anew although nothing asks for it.
        targets: Addresses, node templates or components to narrow the plan down to, with what they depend on.

    Returns:
        A plan over the desired instances and those that are recorded and no longer wanted.

    Raises:
        NoSuchTargetError: If nothing is called like something in ``replace`` or ``targets``.
    """
    records = prior.instances if prior else {}
    to_replace = select(replace, wanted.instances, {}, "--replace")
    chosen = select(targets, wanted.instances, records, "--target")
    changes = _wanted_changes(wanted, records, observed, to_replace)
    gone = {a: r for a, r in records.items() if a not in wanted.instances}
    gone |= {c.former: _former(records[a], c.former) for a, c in changes.items() if c.former}
    changes |= plan_removals(Going(gone, records, changes, "no longer wanted", observed))
    return Plan(
        deployment=deployment,
        lineage=prior.lineage if prior else "",
        serial=prior.serial if prior else 0,
        profile=wanted.profile,
        changes=narrowed(changes, chosen) if targets else changes,
        substitutions=wanted.substitutions,
        targets=tuple(targets),
    )


def _wanted_changes(
    wanted: Wanted,
    records: Mapping[str, InstanceRecord],
    observed: Mapping[str, Observation],
    to_replace: frozenset[str],
) -> dict[str, Change]:
    dependencies = {address: instance.dependencies for address, instance in wanted.instances.items()}
    hosting = {t for i in wanted.instances.values() for n in (HOST, MACHINE) for t in i.requirements.get(n, ())}
    hosting |= {t for r in records.values() for n in (HOST, MACHINE) for t in targets_of(r, n)}
    changes: dict[str, Change] = {}
    known = Known(records, observed, frozenset(hosting), to_replace, changes)
    for address in topological_order(dependencies):
        changes[address] = decide(wanted.instances[address], dependencies[address], known)
    return changes


def _former(record: InstanceRecord, address: str) -> InstanceRecord:
    return replace(record, address=address, pending=None)


def plan_destroy(prior: State) -> Plan:
    """Plan to remove everything that is recorded, in the reverse order of making."""
    return Plan(
        deployment=prior.deployment,
        lineage=prior.lineage,
        serial=prior.serial,
        profile=prior.profile,
        changes=plan_removals(Going(prior.instances, prior.instances, {}, "destroy")),
    )


def plan_refresh(prior: State, observed: Mapping[str, Observation]) -> Plan:
    """Plan to take over into the state what was found, and to change nothing else.

    What is missing stays in the state as something to be made anew, so that its next object gets another token.
    """
    changes: dict[str, Change] = {}
    for address, record in prior.instances.items():
        seen = observed.get(address, Observation(Presence.UNKNOWN, "not looked at"))
        reasons = _to_take_over(record, seen)
        action = Action.REFRESH if reasons else Action.NO_OP
        unasked = reason_unasked(seen) if seen.presence is Presence.UNKNOWN else "as recorded"
        instance = instance_of_record(record)
        changes[address] = Change(
            address, record.type, action, reasons or (unasked,), instance, observed=seen if reasons else None
        )
    return Plan(prior.deployment, prior.lineage, prior.serial, prior.profile, changes, targets=(), refresh_only=True)


def _to_take_over(record: InstanceRecord, seen: Observation) -> tuple[str, ...]:
    if seen.presence is Presence.MISSING:
        is_new = bool(record.attributes) or record.pending is not None or record.lifecycle is not Lifecycle.INITIAL
        return (f"lost: {seen.detail}" if seen.detail else "lost",) if is_new else ()
    found = [(d.name, d.recorded, d.found) for d in seen.differences if can_take_over(record, d.name)]
    known = {name for name, _, _ in found}
    found += [(n, record.attributes.get(n), v) for n, v in seen.attributes.items() if n not in known]
    return tuple(f"{name!r}: {_known(was)} → {_known(now)}" for name, was, now in found if was != now)


def can_take_over(record: InstanceRecord, name: str) -> bool:
    """Whether something that was found has a place in the record: as a property or an attribute."""
    return f"properties.{name}" in record.inputs or name in record.attributes


def _known(value: object) -> str:
    return "nothing" if value is None else str(value)
