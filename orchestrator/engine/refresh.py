"""Looks at everything the state knows, all at once, and says what is there. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Thread

from orchestrator.engine.degraded import degraded_causes, degraded_parts, with_causes
from orchestrator.engine.operations import RunContext, request_for
from orchestrator.errors import DeployError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.records import instance_of_record, is_rehosted
from orchestrator.state.model import InstanceRecord

LOOK_LIMIT = 10.0
"""Seconds that a look may take; whoever looks bounds himself to 5, but what he asks may not keep to that."""

TOTAL_LIMIT = 120.0
"""Seconds that all looks together may take."""

_PARALLEL_LOOKS = 32
_PATIENCE = 0.25
_WORST_FIRST = (Presence.MISSING, Presence.DEGRADED, Presence.PRESENT, Presence.UNKNOWN)


def refresh(
    context: RunContext,
    records: Mapping[str, InstanceRecord],
    *,
    look_limit: float = LOOK_LIMIT,
    total_limit: float = TOTAL_LIMIT,
) -> dict[str, Observation]:
    """Observe every recorded instance in parallel.

    Args:
        context: What the run shares; its ``desired`` is preferred to what an instance was made from.
        records: Every record of the state, by address.
        look_limit: Seconds after which a look is not waited for any longer.
        total_limit: Seconds after which nothing is.

    Returns:
        Observation by address; what cannot be asked is ``UNKNOWN`` with the reason.
    """
    if not records:
        return {}

    def look(address: str) -> Observation:
        record = records[address]
        return _incomplete(_observe(record, context.desired.get(address), context, records), record)

    found = _Looks(tuple(records), look).gather(look_limit, total_limit)
    return {address: found[address] for address in records}


class _Looks:
    """Looks at many things at once and waits for none of them without bound: a look that hangs is left to itself."""

    def __init__(self, addresses: Sequence[str], look: Callable[[str], Observation]) -> None:
        self._look = look
        self._addresses = addresses
        self._waiting: SimpleQueue[str] = SimpleQueue()
        self._ended: SimpleQueue[tuple[str, Observation | BaseException]] = SimpleQueue()
        self._begun: dict[str, float] = {}
        self._is_over = False
        for address in addresses:
            self._waiting.put(address)

    def gather(self, look_limit: float, total_limit: float) -> dict[str, Observation]:
        found: dict[str, Observation] = {}
        end = time.monotonic() + total_limit
        self._add_workers(min(_PARALLEL_LOOKS, len(self._addresses)))
        while len(found) < len(self._addresses) and time.monotonic() < end:
            try:
                address, seen = self._ended.get(timeout=_PATIENCE)
            except Empty:
                overdue = self._overdue(found, look_limit)
                found.update(overdue)
                self._add_workers(len(overdue))
                continue
            if isinstance(seen, BaseException):
                raise seen
            found.setdefault(address, seen)
        self._is_over = True
        for address in self._addresses:
            found.setdefault(address, Observation(Presence.UNKNOWN, "not asked: others took too long to answer"))
        return found

    def _overdue(self, found: Mapping[str, Observation], look_limit: float) -> dict[str, Observation]:
        now = time.monotonic()
        late = [a for a, begun in list(self._begun.items()) if a not in found and now - begun > look_limit]
        return {a: Observation(Presence.UNKNOWN, f"no answer to a look within {look_limit:g} s") for a in late}

    def _add_workers(self, count: int) -> None:
        for _ in range(count):
            Thread(target=self._work, name="look", daemon=True).start()

    def _work(self) -> None:
        while not self._is_over:
            try:
                address = self._waiting.get_nowait()
            except Empty:
                return
            self._begun[address] = time.monotonic()
            try:
                self._ended.put((address, self._look(address)))
            except BaseException as cause:  # noqa: BLE001 - raised again by the thread that waits
                self._ended.put((address, cause))


def _incomplete(seen: Observation, record: InstanceRecord) -> Observation:
    """What was seen, or that the instance lacks something that could not be reached when it was last worked on."""
    parts = degraded_parts(record)
    if not parts or seen.presence in (Presence.MISSING, Presence.DEGRADED):
        return seen
    named = with_causes(parts, degraded_causes(record))
    return replace(seen, presence=Presence.DEGRADED, detail=f"{named} could not be reached when it was last applied")


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
    """One observation out of several looks at the same thing: the worst one counts, with what differs in all."""
    differences = tuple(difference for observation in seen for difference in observation.differences)
    for presence in _WORST_FIRST:
        for observation in seen:
            if observation.presence is presence:
                return replace(observation, differences=differences)
    return Observation(Presence.UNKNOWN, "nothing to ask")
