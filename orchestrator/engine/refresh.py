"""Looks at everything the state knows, all at once, and says what is there. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from orchestrator.engine.operations import RunContext, request_for
from orchestrator.errors import DeployError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.records import instance_of_record, is_rehosted
from orchestrator.state.model import InstanceRecord

_PARALLEL_LOOKS = 32
_WORST_FIRST = (Presence.MISSING, Presence.DEGRADED, Presence.PRESENT, Presence.UNKNOWN)


def refresh(context: RunContext, records: Mapping[str, InstanceRecord]) -> dict[str, Observation]:
    """Observe every recorded instance in parallel.

    Args:
        context: What the run shares; its ``desired`` is preferred to what an instance was made from.
        records: Every record of the state, by address.

    Returns:
        Observation by address; what cannot be asked is ``UNKNOWN`` with the reason.
    """
    if not records:
        return {}
    with ThreadPoolExecutor(max_workers=min(_PARALLEL_LOOKS, len(records))) as pool:
        looks = {
            address: pool.submit(_observe, record, context.desired.get(address), context, records)
            for address, record in records.items()
        }
        return {address: look.result() for address, look in looks.items()}


def _observe(
    record: InstanceRecord,
    wanted: DesiredInstance | None,
    context: RunContext,
    known: Mapping[str, InstanceRecord],
) -> Observation:
    # What is to move is looked for where it is, not where it will be.
    instance = instance_of_record(record) if wanted is None or is_rehosted(wanted, record) else wanted
    seen: list[Observation] = []
    kinds: set[str] = set()
    for operation in instance.operations.values():
        if operation.artifact_type in kinds:
            continue
        kinds.add(operation.artifact_type)
        request = request_for(instance, operation, Action.READ, record, context, known, lambda _message: None)
        try:
            seen.append(context.executors.get(operation.artifact_type).observe(request))
        except DeployError as cause:
            seen.append(Observation(Presence.UNKNOWN, f"{cause.summary} {cause.detail}".strip()))
    return combine(seen)


def combine(seen: list[Observation]) -> Observation:
    """One observation out of several looks at the same thing: the worst one counts."""
    for presence in _WORST_FIRST:
        for observation in seen:
            if observation.presence is presence:
                return observation
    return Observation(Presence.UNKNOWN, "nothing to ask")
