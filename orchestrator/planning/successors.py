"""What takes the place of something that is to be removed, told by the wiring. Pure.

Things that are wired to each other, before or after, and change together belong together: what goes waits for what is
made and rewired around it, and not for work elsewhere. Where nothing that stays touches what goes, all that is new and
of its type may be what takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.planning.plan import Change
from orchestrator.planning.records import CONNECTS_TO, HOST, targets_of
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord, Lifecycle


def successors_of(
    gone: Mapping[str, InstanceRecord],
    records: Mapping[str, InstanceRecord],
    changes: Mapping[str, Change],
    needed_by: Mapping[str, Iterable[str]],
) -> dict[str, tuple[str, ...]]:
    """Address that goes to the last of the changes that take its place, for what nothing else that goes waits for.

    Args:
        gone: What is to be removed.
        records: All that is recorded.
        changes: What is done to what is wanted.
        needed_by: Address that goes to what goes before it: such a one waits already by what comes before it.
    """
    hosting = {target for record in gone.values() for target in targets_of(record, HOST)}
    leaving = {
        address: None
        for address, record in gone.items()
        if not is_former(address) and address not in hosting and f"requirements.{HOST}" in record.inputs
    }
    firsts = [address for address in leaving if leaving.keys().isdisjoint(needed_by[address])]
    busy = {address for address, change in changes.items() if not change.is_noop}
    if not firsts or not busy:
        return {}
    groups = _groups(gone, records, changes, busy)
    lasts = _lasts(busy, changes, groups)
    anew = _anew(busy, records, changes, groups)
    return {a: lasts.get(groups.get(a, a)) or anew.get(gone[a].type, ()) for a in firsts}


def _groups(
    gone: Mapping[str, InstanceRecord],
    records: Mapping[str, InstanceRecord],
    changes: Mapping[str, Change],
    busy: set[str],
) -> dict[str, str]:
    """Address to the address that stands for all that it is wired to through things that change or go."""
    edges = list(_edges(records, changes))
    near = {end for edge in edges if edge[0] in gone or edge[1] in gone for end in edge}
    parent: dict[str, str] = {}

    def root(address: str) -> str:
        parent.setdefault(address, address)
        while parent[address] != address:
            parent[address] = parent[parent[address]]
            address = parent[address]
        return address

    for source, target in edges:
        if (source in busy or source in near) and (target in busy or target in near):
            parent[root(source)] = root(target)
    return {address: root(address) for address in list(parent)}


def _edges(records: Mapping[str, InstanceRecord], changes: Mapping[str, Change]) -> Iterator[tuple[str, str]]:
    for address, record in records.items():
        for target in targets_of(record, CONNECTS_TO):
            yield address, target
    for address, change in changes.items():
        for target in change.instance.requirements.get(CONNECTS_TO, ()):
            yield address, target


def _lasts(busy: set[str], changes: Mapping[str, Change], groups: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Group to those of its changes that no other change of it waits for."""
    awaited = {
        dependency
        for address in busy
        for dependency in changes[address].instance.requirements.get(CONNECTS_TO, ())
        if dependency in busy
    }
    lasts: dict[str, list[str]] = {}
    for address in changes:
        if address in busy and address not in awaited:
            lasts.setdefault(groups.get(address, address), []).append(address)
    return {group: tuple(addresses) for group, addresses in lasts.items()}


def _anew(
    busy: set[str], records: Mapping[str, InstanceRecord], changes: Mapping[str, Change], groups: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Type to the last changes of groups in which nothing was at work before."""
    at_work = {a for a, r in records.items() if a in changes and r.pending is None and r.lifecycle is Lifecycle.STARTED}
    known = {groups.get(address, address) for address in at_work}
    found: dict[str, list[str]] = {}
    for group, addresses in _lasts(busy - at_work, changes, groups).items():
        if group not in known:
            for address in addresses:
                found.setdefault(changes[address].type, []).append(address)
    return {kind: tuple(addresses) for kind, addresses in found.items()}
