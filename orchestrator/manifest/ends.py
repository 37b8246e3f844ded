"""Which services are at the two ends of a pipeline: where files go in now, and where they come out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.planning.records import CONNECTS_TO, targets_of
from orchestrator.state.model import InstanceRecord, State
from orchestrator.topology.parse import parse_template


def first_services(at_work: Mapping[str, InstanceRecord], state: State) -> list[InstanceRecord]:
    """The services that files are put in at. One that goes counts until one that is wanted answers.

    Args:
        at_work: The services that answer, by the address that they have or had.
        state: The state; its template says what is wanted.
    """
    found = [record for record in at_work.values() if _takes_files_from_outside(record)]
    if len(found) < 2:
        return found
    parsed = parse_template(state.template, state.deployment)
    wanted = set(parsed.topology.nodes) if parsed.topology is not None else set()
    return [record for record in found if record.node in wanted] or found


def last_services(at_work: Mapping[str, InstanceRecord]) -> list[InstanceRecord]:
    """The services whose results go to no other: of those that go too, as long as they are there."""
    return [record for record in at_work.values() if not targets_of(record, CONNECTS_TO)]


def _takes_files_from_outside(record: InstanceRecord) -> bool:
    """A service whose input has the service's own name: any other has the name of what sends there."""
    path = str(record.inputs.get("properties.input_path") or "")
    return path.partition("/")[0] == record.inputs.get("properties.service")
