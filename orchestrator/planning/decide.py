"""Decides what is done to one wanted instance, why, and what it costs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.planning.actions import RENEWALS, Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.differences import differences, differing_keys
from orchestrator.planning.downtime import DowntimeKind, downtime_of
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Change, reason_unasked
from orchestrator.planning.records import CONNECTS_TO, HOST, MACHINE, is_rehosted, targets_of
from orchestrator.state.former import former_address
from orchestrator.state.model import InstanceRecord, Lifecycle
from orchestrator.topology.model import Value

_PLACE = ("properties.layer", f"requirements.{HOST}")
_EACH = "properties.hosts"
_WAY = frozenset({"key_file", "key_passphrase", "become_password"})
"""Parts of an entry of ``hosts`` that say how its owner logs in, and not which machine it is."""

_RULES = frozenset({"properties.public_ports", "settings.ssh_from", "settings.tags"})
"""Inputs that say who reaches a machine, or what people call it, and not which machine it is."""

SET_IN_PASSING = frozenset({"security_rules", "tags"})
"""What providers tell of a machine (``providers/base.py``) that says the same, and is set back without stopping it."""

_ABOUT_PLACE = (HOST, MACHINE, CONNECTS_TO)


@dataclass(frozen=True, slots=True)
class Known:
    """What decisions rest on.

    Attributes:
        records: The state, by address.
        observed: What a refresh saw, by address.
        hosting: Addresses that something is hosted on, wanted or recorded.
        to_replace: Addresses that are to be made anew by wish.
        changes: What was decided so far; everything that an instance depends on is in it.
    """

    records: Mapping[str, InstanceRecord]
    observed: Mapping[str, Observation]
    hosting: frozenset[str]
    to_replace: frozenset[str]
    changes: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class _Decision:
    action: Action
    reasons: tuple[str, ...]
    only_gains: bool = False
    title: str = ""


def decide(instance: DesiredInstance, dependencies: tuple[str, ...], known: Known) -> Change:
    """The change of one wanted instance, after those of all that it depends on.

    Args:
        instance: What is wanted.
        dependencies: Its dependencies.
        known: What else is known.
    """
    address = instance.address
    record = known.records.get(address)
    decision = _decide(instance, dependencies, record, known)
    if address in known.to_replace and decision.action in (Action.NO_OP, Action.UPDATE):
        decision = _Decision(Action.REPLACE, ("replacement asked for",))
    was_there = record is not None and record.lifecycle is not Lifecycle.INITIAL
    downtime = downtime_of(
        decision.action,
        instance,
        was_there=was_there,
        only_gains=decision.only_gains,
    )
    moved_from = record.generation if record is not None and decision.action is Action.MOVE else 0
    return Change(
        address=address,
        type=instance.type,
        action=decision.action,
        reasons=decision.reasons,
        instance=instance,
        after=_after(dependencies, known.changes),
        downtime=downtime,
        title=decision.title,
        former=former_address(address, moved_from) if moved_from else "",
    )


def _after(dependencies: tuple[str, ...], changes: Mapping[str, Change]) -> tuple[str, ...]:
    """What must have succeeded first: what it depends on, and what changes below that if it stays itself."""
    found = dict.fromkeys(d for d in dependencies if d in changes)
    for dependency in tuple(found):
        if changes[dependency].is_noop:
            found.update(dict.fromkeys(a for a in changes[dependency].after if not changes[a].is_noop))
    return tuple(found)


def _decide(
    instance: DesiredInstance, dependencies: tuple[str, ...], record: InstanceRecord | None, known: Known
) -> _Decision:
    if record is None:
        return _Decision(Action.CREATE, ("not there yet",))
    seen = known.observed.get(instance.address)
    if record.lifecycle is Lifecycle.INITIAL:
        cut_off = "an earlier run was cut off while making it"
        return _Decision(Action.CREATE, (cut_off if record.pending else "not there any longer",))
    if seen is not None and seen.presence is Presence.MISSING:
        return _Decision(Action.CREATE, (f"lost: {seen.detail}" if seen.detail else "lost",))
    rehosted = is_rehosted(instance, record)
    before, inputs = _of_instance(record.inputs, instance.index), _of_instance(instance.inputs, instance.index)
    if rehosted and not (record.provider or instance.provider or instance.address in known.hosting):
        title = _title(instance, record)
        return _Decision(Action.MOVE, (title, *differences(before, inputs, _PLACE)), title=title)
    lost_with = _lost_with(instance, known.changes)
    if lost_with:
        return _Decision(Action.CREATE, (f"lost with {', '.join(lost_with)}", *differences(before, inputs)))
    if record.pending is not None and record.pending.action == Action.DELETE.value:
        return _Decision(Action.REPLACE, ("an earlier run was cut off while removing it",))
    if record.type != instance.type or record.provider != instance.provider:
        return _Decision(Action.REPLACE, (f"was {record.type} of {record.provider or 'no provider'}",))
    condition = _condition(record, seen)
    wiring, others = _because_of_dependencies(instance, dependencies, record, known)
    differing = differences(before, inputs)
    reasons = (*condition, *others, *wiring, *differing)
    if not reasons:
        if seen is not None and seen.presence is Presence.UNKNOWN:
            return _Decision(Action.NO_OP, (reason_unasked(seen),))
        return _Decision(Action.NO_OP, ("as wanted",))
    in_place = not instance.provider or "configure" in instance.operations or _is_reached_otherwise(before, inputs)
    if differing and (rehosted or not in_place):
        return _Decision(Action.REPLACE, reasons)
    stops = others or (condition and not _is_set_in_passing(record, seen))
    only_gains = not stops and _only_gains(instance, record, differing_keys(before, inputs))
    return _Decision(Action.UPDATE, reasons, only_gains)


def _of_instance(inputs: Mapping[str, Value], index: int) -> Mapping[str, Value]:
    """The inputs with no more than the instance's own entry of a list that has one for every instance of a template.

    A machine more in the list makes no other machine another one.
    """
    hosts = inputs.get(_EACH)
    return {**inputs, _EACH: hosts[index : index + 1]} if isinstance(hosts, list) and len(hosts) > 1 else inputs


def _is_reached_otherwise(before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
    """Whether nothing differs but who reaches a machine, or how its owner logs in to it: it is the same one."""
    keys = differing_keys(before, after)
    if keys <= _RULES:
        return True
    if keys != {_EACH}:
        return False
    hosts = [inputs.get(_EACH) for inputs in (before, after)]
    bare = [
        {key: value for key, value in entries[0].items() if key not in _WAY}
        for entries in hosts
        if isinstance(entries, list) and len(entries) == 1 and isinstance(entries[0], dict)
    ]
    return len(bare) == 2 and bare[0] == bare[1]


def _only_gains(instance: DesiredInstance, record: InstanceRecord, keys: frozenset[str]) -> bool:
    """Whether nothing changes but where its results go, which machines it has more, and who reaches it."""
    if keys and keys <= _RULES:
        return True
    gained = frozenset(instance.requirements.get(MACHINE, ())).issuperset(targets_of(record, MACHINE))
    return gained and keys <= {f"requirements.{CONNECTS_TO}", f"requirements.{MACHINE}"}


def _condition(record: InstanceRecord, seen: Observation | None) -> tuple[str, ...]:
    """What is wrong with it by itself."""
    found = []
    if _is_unfinished(record):
        found.append(f"an earlier run left it {record.lifecycle.value}")
    if seen is not None and seen.presence is Presence.DEGRADED:
        found.append(seen.detail or "not as it should be")
    return tuple(found)


def _is_unfinished(record: InstanceRecord) -> bool:
    return record.pending is not None or record.lifecycle is not Lifecycle.STARTED


def _is_set_in_passing(record: InstanceRecord, seen: Observation | None) -> bool:
    """Whether nothing is wrong but who reaches a machine, or what people call it."""
    if seen is None or not seen.differences or _is_unfinished(record):
        return False
    return SET_IN_PASSING.issuperset(difference.name for difference in seen.differences)


def _because_of_dependencies(
    instance: DesiredInstance, dependencies: tuple[str, ...], record: InstanceRecord, known: Known
) -> tuple[list[str], list[str]]:
    """Reasons that lie in what it depends on: where its results go and what is added, and all others."""
    wiring: list[str] = []
    others: list[str] = []
    before = frozenset(record.dependencies)
    connected = frozenset(instance.requirements.get(CONNECTS_TO, ()))
    added = frozenset(instance.requirements.get(MACHINE, ())) - before
    parts = {t for n, targets in instance.requirements.items() if n not in _ABOUT_PLACE for t in targets}
    for dependency in dependencies:
        change = known.changes.get(dependency)
        if change is None:
            continue
        reasons = wiring if dependency in connected or dependency in added else others
        if change.action is Action.MOVE:
            hosts = ", ".join(change.instance.requirements.get(HOST, ()))
            goes = f"results go to {hosts}: " if dependency in connected else ""
            reasons.append(f"{goes}{dependency} moves")
        elif change.action in RENEWALS:
            reasons.append(f"{dependency} is {'made anew' if dependency in before else 'new'}")
        elif _is_wired_to_an_earlier(dependency, record, known.records):
            reasons.append(f"it was left with an earlier {dependency}")
        elif change.action is Action.UPDATE and dependency in before:
            if change.instance.provider:
                if change.downtime.kind is DowntimeKind.NONE:
                    continue  # the machine goes on as it is: who reaches it is nothing to those on it or behind it
                others.append(f"{dependency} is mended")
            elif dependency in parts:
                others.append(f"{dependency} is made from something else")
    return [*wiring, *_bare_machines(instance, known)], others


def _bare_machines(instance: DesiredInstance, known: Known) -> Iterator[str]:
    """Machines below what it is hosted on that are new, if it puts something of its own on them when it is made."""
    waiting = list(instance.requirements.get(HOST, ())) if "create" in instance.operations else []
    while waiting:
        change = known.changes.get(waiting.pop())
        if change is None:
            continue
        waiting += change.instance.requirements.get(HOST, ())
        for machine in change.instance.requirements.get(MACHINE, ()):
            if machine in known.changes and known.changes[machine].action in RENEWALS:
                yield f"{machine} has nothing of it yet"


def _is_wired_to_an_earlier(dependency: str, record: InstanceRecord, records: Mapping[str, InstanceRecord]) -> bool:
    """Whether an earlier run renewed a dependency and was cut off before this one was told."""
    generation, present = record.wired.get(dependency), records.get(dependency)
    return generation is not None and present is not None and generation != present.generation


def _lost_with(instance: DesiredInstance, changes: Mapping[str, Change]) -> tuple[str, ...]:
    """All that it is hosted on, if none of that stays: what is made anew has nothing on it."""
    hosts = tuple(t for name in (HOST, MACHINE) for t in instance.requirements.get(name, ()))
    is_lost = all(h in changes and changes[h].action in (Action.CREATE, Action.REPLACE) for h in hosts)
    return hosts if is_lost else ()


def _title(instance: DesiredInstance, record: InstanceRecord) -> str:
    """What a move is called: by the layers, or the hosts if those are the same or not known."""
    name = instance.properties.get("component") or instance.node
    before: Value = record.inputs.get("properties.layer")
    after: Value = instance.properties.get("layer")
    if before is not None and after is not None and before != after:
        return f"{name}: layer {before} → layer {after}"
    hosts = ", ".join(targets_of(record, HOST)), ", ".join(instance.requirements.get(HOST, ()))
    return f"{name}: {hosts[0] or 'nowhere'} → {hosts[1] or 'nowhere'}"
