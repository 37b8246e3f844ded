"""Runs the operations of one change, each step durable before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Event

from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Presence
from orchestrator.planning.plan import Change
from orchestrator.planning.records import instance_of_record, machines_under
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.former import former_generation, present_address
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending
from orchestrator.state.secrets import SecretStore
from orchestrator.state.session import StateWriter

MAKING = ("create", "configure", "start")
REMOVING = ("stop", "delete")

_DURING = {
    "create": Lifecycle.CREATING,
    "configure": Lifecycle.CONFIGURING,
    "start": Lifecycle.STARTING,
    "stop": Lifecycle.STOPPING,
    "delete": Lifecycle.DELETING,
}
_AFTER = {
    "create": Lifecycle.CREATED,
    "configure": Lifecycle.CONFIGURED,
    "start": Lifecycle.STARTED,
}


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all changes of a run share.

    Attributes:
        tag: Deployment name and lineage.
        run: Identifier of the run.
        folders: Where files go.
        secrets: Where secret values live.
        desired: Wanted instances by address.
        executors: Executors by artifact type.
        cancel: Set when the operator wants to stop.
        lock_fds: Descriptors of the deployment's lock.
        newest_former: Address to the highest generation of the former instances that were left of it at the beginning.
    """

    tag: DeploymentTag
    run: str
    folders: Folders
    secrets: SecretStore
    desired: Mapping[str, DesiredInstance]
    executors: ExecutorRegistry
    cancel: Event
    lock_fds: tuple[int, ...] = ()
    newest_former: Mapping[str, int] = field(default_factory=dict)


def creation_token(lineage: str, address: str, generation: int) -> str:
    """What a created object carries: the same after a crash, another for every replacement. 32 hexadecimal digits."""
    return hashlib.sha256(f"{lineage}\n{address}\n{generation}".encode()).hexdigest()[:32]


def perform(change: Change, context: RunContext, writer: StateWriter, progress: Callable[[str], None]) -> None:
    """Do one change.

    Raises:
        DeployError: What the executor raised; the record then says ``error`` and keeps what was found out.
    """
    if change.action is Action.FORGET:
        _forget(change, context, writer)
    elif change.action is Action.REFRESH:
        _take_over(change, writer)
    elif change.action is Action.DELETE:
        _remove(change, context, writer, progress)
        writer.remove(change.address)
        if change.instance.provider:
            _sweep(writer)
    elif change.action is Action.REPLACE:
        _remove(change, context, writer, progress)
        _make(change, context, writer, progress)
    else:
        if change.action is Action.MOVE:
            _set_aside(change, writer)
        _make(change, context, writer, progress)


def _forget(change: Change, context: RunContext, writer: StateWriter) -> None:
    """Let go of something that goes with its machines: noted now, gone from the state once they are gone.

    Until then it is there, and a later run that keeps a machine has to find it.
    """
    known = writer.state.instances
    record = known.get(change.address)
    if record is None:
        return
    if machines_under(record, known) - context.desired.keys():
        token = creation_token(context.tag.lineage, change.address, record.generation)
        pending = Pending(Action.FORGET.value, token, context.run)
        writer.record(replace(record, lifecycle=Lifecycle.DELETING, pending=pending))
    else:
        writer.remove(change.address)


def _sweep(writer: StateWriter) -> None:
    """Drop from the state what went with the last of its machines."""
    known = writer.state.instances
    let_go = [r for r in known.values() if r.pending is not None and r.pending.action == Action.FORGET.value]
    for address in [r.address for r in let_go if not machines_under(r, known)]:
        writer.remove(address)


def _set_aside(change: Change, writer: StateWriter) -> None:
    """Keep what is moved away from under its former address, unless an earlier attempt has done so.

    Between this step and the next both records are of one object: the planner knows them by their generation.
    """
    old = writer.state.instances.get(change.address)
    if old is not None and old.generation == former_generation(change.former):
        # What an earlier run let go of stays so: nothing has to be kept for it any longer.
        let_go = old.pending if old.pending is not None and old.pending.action == Action.FORGET.value else None
        writer.record(replace(old, address=change.former, pending=let_go))


def _take_over(change: Change, writer: StateWriter) -> None:
    """Record what was found. What is lost keeps its generation, so that the next object gets another token."""
    record, seen = writer.state.instances.get(change.address), change.observed
    if record is None or seen is None:
        return
    if seen.presence is Presence.MISSING:
        writer.record(replace(record, lifecycle=Lifecycle.INITIAL, attributes={}, pending=None))
        return
    inputs, attributes = dict(record.inputs), {**record.attributes, **seen.attributes}
    for difference in seen.differences:
        key = f"properties.{difference.name}"
        if key in inputs:
            inputs[key] = difference.found
        elif difference.name in attributes:
            attributes[difference.name] = difference.found
    writer.record(replace(record, inputs=inputs, attributes=attributes))


def _make(change: Change, context: RunContext, writer: StateWriter, progress: Callable[[str], None]) -> None:
    known = writer.state.instances
    old = known.get(change.address)
    # What comes again counts on from what is left of it, or its former address would be taken when it moves.
    left = context.newest_former.get(change.address, 0)
    generation = _generation(change, old) if old is not None else left + 1
    instance = change.instance
    dependencies = instance.dependencies
    keeps = old is not None and change.action is Action.UPDATE
    record = InstanceRecord(
        address=change.address,
        node=instance.node,
        type=instance.type,
        provider=instance.provider,
        generation=generation,
        lifecycle=old.lifecycle if old and keeps else Lifecycle.INITIAL,
        inputs=instance.inputs,
        attributes=old.attributes if old and keeps else {},
        # What it was wired to may not go before it is known to be rewired.
        dependencies=tuple(dict.fromkeys((*dependencies, *(old.dependencies if old and keeps else ())))),
        pending=Pending(
            change.action.value, creation_token(context.tag.lineage, change.address, generation), context.run
        ),
        wired={d: known[d].generation for d in dependencies if d in known},
    )
    record = _run_operations(change, record, MAKING, context, writer, progress)
    writer.record(replace(record, lifecycle=Lifecycle.STARTED, dependencies=dependencies, pending=None))


def _generation(change: Change, old: InstanceRecord) -> int:
    """The next number where a new object takes the place of an old one; the same where a cut-off create goes on."""
    if change.action is Action.MOVE:
        return former_generation(change.former) + 1
    cut_off = old.pending is not None and old.pending.action in ("create", "move", "replace")
    renewed = (
        change.action is Action.REPLACE
        or (change.action is Action.CREATE and not cut_off)
        or (change.action is Action.UPDATE and old.pending is None and _is_only_created(change.instance))
    )
    return old.generation + 1 if renewed else old.generation


def _is_only_created(instance: DesiredInstance) -> bool:
    """Whether an update makes another object beside the old one, as with an image: nothing configures it in place."""
    return not instance.provider and {"configure", "start"}.isdisjoint(instance.operations)


def _remove(change: Change, context: RunContext, writer: StateWriter, progress: Callable[[str], None]) -> None:
    record = writer.state.instances.get(change.address)
    if record is None:
        return
    # The token with which it was made, also where it has moved away since.
    token = creation_token(context.tag.lineage, present_address(change.address), record.generation)
    pending = Pending(Action.DELETE.value, token, context.run)
    # What is removed is what was made, where it was made: the change may want it elsewhere.
    removing = replace(change, action=Action.DELETE, instance=instance_of_record(record))
    _run_operations(removing, replace(record, pending=pending), REMOVING, context, writer, progress)


def _run_operations(
    change: Change,
    record: InstanceRecord,
    names: tuple[str, ...],
    context: RunContext,
    writer: StateWriter,
    progress: Callable[[str], None],
) -> InstanceRecord:
    """Run the operations that the instance has, in order; the record is durable before and after each of them."""
    operations = [change.instance.operations[name] for name in names if name in change.instance.operations]
    if not operations:
        writer.record(record)
    for operation in operations:
        record = replace(record, lifecycle=_DURING[operation.name])
        writer.record(record)
        request = request_for(
            change.instance, operation, change.action, record, context, writer.state.instances, progress
        )
        try:
            result = context.executors.get(operation.artifact_type).run(request)
        except BaseException:
            writer.record(replace(record, lifecycle=Lifecycle.ERROR))
            raise
        attributes = {**record.attributes, **result.attributes}
        record = replace(record, attributes=attributes, lifecycle=_AFTER.get(operation.name, record.lifecycle))
        writer.record(record)
    return record


def request_for(
    instance: DesiredInstance,
    operation: Operation,
    action: Action,
    record: InstanceRecord,
    context: RunContext,
    known: Mapping[str, InstanceRecord],
    progress: Callable[[str], None],
) -> OperationRequest:
    """What the executor gets."""
    return OperationRequest(
        tag=context.tag,
        action=action,
        operation=operation.name,
        implementation=operation,
        instance=instance,
        record=record,
        known=known,
        desired=context.desired,
        folders=context.folders,
        secrets=context.secrets,
        progress=progress,
        cancel=context.cancel,
        lock_fds=context.lock_fds,
    )
