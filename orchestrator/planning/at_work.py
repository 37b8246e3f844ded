"""Which record answers at an address while things move: the new one from the moment it answers, until then the former.

Pure. What an instance has found out about itself stands in its attributes only once its operations have succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.planning.records import CONNECTS_TO, targets_of
from orchestrator.state.former import former_address, former_generation, is_former, present_address
from orchestrator.state.model import InstanceRecord

_INPUTS = "inputs"


def answers(record: InstanceRecord) -> bool:
    """Whether a service has answered since it was made."""
    return _INPUTS in record.attributes


def services_at_work(records: Mapping[str, InstanceRecord]) -> dict[str, InstanceRecord]:
    """Address that is wanted, or was, to the record of the service that files go to there.

    Args:
        records: All records of the state, by address.
    """
    found: dict[str, InstanceRecord] = {}
    for address, record in records.items():
        if not answers(record):
            continue
        present = present_address(address)
        known = found.get(present)
        if known is None or not is_former(address) or (is_former(known.address) and _age(record) > _age(known)):
            found[present] = record
    return found


def sends_to(record: InstanceRecord, records: Mapping[str, InstanceRecord]) -> tuple[InstanceRecord, ...]:
    """The services that take a service's results as it is wired now, which may be former ones.

    Args:
        record: A service's record.
        records: All records of the state, by address.
    """
    at_work = services_at_work(records)
    found = []
    for address in targets_of(record, CONNECTS_TO):
        generation = record.wired.get(address)
        former = records.get(former_address(address, generation)) if generation is not None else None
        target = former or at_work.get(address) or records.get(address)
        if target is not None:
            found.append(target)
    return tuple(found)


def _age(record: InstanceRecord) -> int:
    return former_generation(record.address)
