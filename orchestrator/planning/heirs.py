"""Who inherits the files that a service leaves unprocessed: what gets now what it would have got. Pure.

In this order: what takes its address, if it moved; what a predecessor that stays sends to from now on; the first of the
pipeline, if it was the first; what sends to a successor that stays; the last, if it was the last. Where several could
be meant, nothing is guessed: nobody inherits, and the files are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import CONNECTS_TO, targets_of
from orchestrator.state.former import is_former, present_address
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

TOOK_OVER = "took_over_from"
"""Attribute of a service: what was to go and read the same path when it was made; others there read it before."""

_INPUT = "input_path"
_OUTPUT = "properties.output_path"


def heirs_of(
    record: InstanceRecord, known: Mapping[str, InstanceRecord], desired: Mapping[str, DesiredInstance]
) -> tuple[str, ...]:
    """Addresses of the wanted services that take over the files of one that goes: one, or none.

    Args:
        record: The service that goes.
        known: All records of the state, by address.
        desired: Everything that is wanted, by address.
    """
    address = present_address(record.address)
    if is_former(record.address):
        return (address,) if address in desired else ()
    services = {a: i for a, i in desired.items() if _INPUT in i.properties}
    # By the paths, since a predecessor that stays has been wired to something else by the time something goes.
    paths = _paths(record)
    before = [a for a, r in known.items() if r.inputs.get(_OUTPUT) in paths and not is_former(a)]
    staying = [a for a in before if a in services]
    if staying:
        following = dict.fromkeys(t for a in staying for t in _following(services[a]) if t in services)
        new = [a for a in following if a in known and address in taken_over(known[a])]
        return _only(new or following, address, known, services)
    if not before:
        return _only(_firsts(services), address, known, services)
    followers = targets_of(record, CONNECTS_TO)
    kept = {a for a in followers if a in services}
    if kept:
        return _only([a for a, i in services.items() if kept & set(_following(i))], address, known, services)
    lasts = [a for a, i in services.items() if not _following(i)]
    return _only(lasts, address, known, services) if not followers else ()


def taken_over(record: InstanceRecord) -> tuple[str, ...]:
    """Addresses of the services that went when a service was made that reads what they read."""
    found = record.attributes.get(TOOK_OVER)
    return tuple(str(a) for a in found) if isinstance(found, list) else ()


def going_beside(
    instance: DesiredInstance, known: Mapping[str, InstanceRecord], desired: Mapping[str, DesiredInstance]
) -> list[str]:
    """Addresses of services that are to go and read a path that a wanted one reads as well."""
    if not desired:
        return []
    more = instance.properties.get(f"more_{_INPUT}s")
    own = {instance.properties.get(_INPUT), *(more if isinstance(more, list) else ())}
    return [a for a, r in known.items() if a not in desired and not is_former(a) and own & _paths(r)]


def _paths(record: InstanceRecord) -> set[Value]:
    more = record.inputs.get(f"properties.more_{_INPUT}s")
    return {record.inputs.get(f"properties.{_INPUT}"), *(more if isinstance(more, list) else ())} - {None}


def _following(instance: DesiredInstance) -> tuple[str, ...]:
    return instance.requirements.get(CONNECTS_TO, ())


def _firsts(services: Mapping[str, DesiredInstance]) -> list[str]:
    followed = {target for instance in services.values() for target in _following(instance)}
    return [address for address in services if address not in followed]


def _only(
    candidates: Iterable[str],
    address: str,
    known: Mapping[str, InstanceRecord],
    services: Mapping[str, DesiredInstance],
) -> tuple[str, ...]:
    """The one candidate; of several the only one that goes on to the same services, or is wired to the same."""
    found = tuple(candidates)
    followers = set(targets_of(known[address], CONNECTS_TO)) if address in known else set()
    if len(found) > 1 and followers:
        found = tuple(a for a in found if followers & set(_following(services[a]))) or found
    if len(found) > 1:
        connected = _connected(address, known, services)
        found = tuple(a for a in found if a in connected)
    return found if len(found) == 1 else ()


def _connected(
    address: str, known: Mapping[str, InstanceRecord], services: Mapping[str, DesiredInstance]
) -> frozenset[str]:
    """All that is wired to an address, directly or not, by what is or by what was."""
    edges = [(a, t) for a, r in known.items() for t in targets_of(r, CONNECTS_TO)]
    edges += [(a, t) for a, i in services.items() for t in _following(i)]
    found = {address}
    grown = True
    while grown:
        near = {end for edge in edges if found & set(edge) for end in edge}
        grown = not near <= found
        found |= near
    return frozenset(found)
