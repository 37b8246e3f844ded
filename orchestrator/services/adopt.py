"""Takes a machine that was made by hand at a cloud over into the state, as if an apply had made it."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.engine.operations import creation_token, request_for
from orchestrator.errors import ProviderError, RemoteError, UsageError
from orchestrator.executors.ansible_process import DEPLOYMENT_KEY
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.compute import attributes_of
from orchestrator.executors.first_contact import ADOPTED, LOGIN_TIMEOUT, meet
from orchestrator.executors.login import way_to
from orchestrator.executors.machine_request import hostname_of, machine_request
from orchestrator.executors.ssh_key import authorized_key, key_folder, private_key
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.planner import Wanted
from orchestrator.planning.records import FRONT
from orchestrator.providers.base import Cloud, MachineState
from orchestrator.providers.ownership import MachineGoneError
from orchestrator.providers.registry import is_cloud, load_provider
from orchestrator.remote.entry import target_of
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.load import LoadedTopology
from orchestrator.services.manifest import parse_stored_template
from orchestrator.services.prepare import Target
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending, State

_COMMAND_TIMEOUT = 20.0
_ADD_KEY = (
    "umask 077; mkdir -p ~/.ssh && touch ~/.ssh/authorized_keys && { grep -qxF %s ~/.ssh/authorized_keys || "
    "printf '\\n%%s\\n' %s >> ~/.ssh/authorized_keys; } && { [ \"$(id -u)\" = 0 ] || sudo -n true; }"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """How its owner logs in to the machine, so that it can be told of the deployment's key.

    Attributes:
        user: Login name; empty for the one that machines of the cloud have.
        key_file: Private key; ``None`` for what he logs in with by hand.
        host_key: Public host key or its fingerprint; empty for the one that it shows now.
    """

    user: str = ""
    key_file: Path | None = None
    host_key: str = ""


def target_of_state(state: State) -> Target:
    """What was applied last, under its profile."""
    topology = parse_stored_template(state.template, state.deployment)
    loaded = LoadedTopology(topology, state.template, Path(state.application_root), ())
    return Target(loaded, state.profile, state.profile_options)


def adopt_machine(
    opened: OpenDeployment,
    wanted: Wanted,
    target: Target,
    address: str,
    machine_id: str,
    owner: Owner,
    tell: Callable[[str], None],
) -> InstanceRecord:
    """Take it over: its tags, the key of the deployment, a record as an apply writes it. Can be repeated.

    Args:
        opened: The deployment, locked.
        wanted: What is to be applied.
        target: Where that comes from.
        address: Which of its machines it is to be.
        machine_id: The cloud's identifier.
        owner: How to log in to it.
        tell: Called with lines of progress.

    Raises:
        UsageError: If the address is none of a cloud's machine, or has a machine; or the machine is another's or not
            there.
        ProviderError: If the cloud refuses.
        RemoteError: If nobody can log in; the record then says what is known, and the import can be repeated.
    """
    instance = _check(opened, wanted, address, machine_id)
    session = opened.session
    if opened.state is None:
        loaded = target.loaded
        session.set_template(loaded.template_text, target.profile, target.options, str(loaded.application_root))
    before = session.state.instances.get(address)
    context = opened.context(wanted.instances, str(target.loaded.application_root))
    generation = _generation(before, context.newest_former.get(address, 0))
    token = creation_token(context.tag.lineage, address, generation)
    known = session.state.instances
    record = InstanceRecord(
        address=address,
        node=instance.node,
        type=instance.type,
        provider=instance.provider,
        generation=generation,
        lifecycle=Lifecycle.CREATING,
        inputs=instance.inputs,
        dependencies=instance.dependencies,
        pending=Pending(Action.CREATE.value, token, opened.run),
        wired={d: known[d].generation for d in instance.dependencies if d in known},
    )
    provider = load_provider(instance.provider)
    assert isinstance(provider, Cloud), "checked before"  # noqa: S101
    session.record(record)
    try:
        key = authorized_key(opened.secrets, opened.folder)
        machine = provider.adopt(machine_id, machine_request(instance, context.tag, token, key))
    except BaseException as failure:
        session.record(before) if before is not None else session.remove(address)
        if isinstance(failure, MachineGoneError):
            raise _absent(instance, machine_id) from failure
        raise
    told = attributes_of(machine, hostname_of(instance))
    told |= {"host_key": owner.host_key, "user": owner.user or machine.user, ADOPTED: True}
    record = replace(record, attributes=told, lifecycle=Lifecycle.ERROR)
    session.record(record)
    operation = instance.operations["create"]
    request = request_for(instance, operation, Action.CREATE, record, context, session.state.instances, tell)
    if machine.state is not MachineState.RUNNING:
        raise ProviderError(
            "The machine does not run.",
            detail=f"{machine_id} is {machine.state.value}, so that the key of the deployment cannot be put there.",
            resolution="Start it, then import it again.",
        )
    told["host_key"] = _introduce(request, owner, key)
    request = replace(request, record=replace(record, attributes=told))
    attributes = meet(request, told, LOGIN_TIMEOUT, renews=False)
    record = replace(record, attributes=attributes, lifecycle=Lifecycle.STARTED, pending=None)
    session.record(record)
    session.snapshot()
    return record


def _absent(instance: DesiredInstance, machine_id: str) -> UsageError:
    return UsageError(
        "There is no such machine.",
        detail=f"{instance.provider} has no machine {machine_id} that {instance.address} could be.",
        resolution="Look its identifier up at the cloud; it has to be at the place that the image, or --provider, "
        "names.",
    )


def _check(opened: OpenDeployment, wanted: Wanted, address: str, machine_id: str) -> DesiredInstance:
    instance = wanted.instances.get(address)
    clouds = [a for a, i in wanted.instances.items() if is_cloud(i.provider)]
    if instance is None or address not in clouds:
        raise UsageError(
            "This is no machine of a cloud.",
            detail=f"{opened.name} has {', '.join(clouds) or 'none'}; {address!r} was given.",
            resolution="Name one of these." if clouds else "Say in the production file which cloud it is at.",
        )
    records = opened.session.state.instances
    there = records.get(address)
    present = there.attributes.get("machine_id") if there is not None else None
    if there is not None and present is not None and (present != machine_id or there.pending is None):
        raise UsageError(
            "There is a machine already.",
            detail=f"{address} of {opened.name} is {present}.",
            resolution=f"Take it out of the state with `deploy state rm {address}` first, or name another address.",
        )
    for other in records.values():
        taken = (other.provider, other.attributes.get("machine_id")) == (instance.provider, machine_id)
        if taken and other.address != address:
            raise UsageError(
                "The machine is in the state already.",
                detail=f"{machine_id} is {other.address} of {opened.name}.",
                resolution="Name another machine.",
            )
    for front in instance.requirements.get(FRONT, ()):
        if front not in records or not records[front].attributes.get("host"):
            raise UsageError(
                "The machine that leads to it is not there.",
                detail=f"{address} is reached through {front}, which {opened.name} does not have yet.",
                resolution=f"Import or make {front} first.",
            )
    return instance


def _generation(before: InstanceRecord | None, left: int) -> int:
    """The same where an import or a create was cut off, since the machine may carry its token already."""
    if before is None:
        return left + 1
    return before.generation if before.pending is not None else before.generation + 1


def _introduce(request: OperationRequest, owner: Owner, key: str) -> str:
    """Have the machine let the deployment's key in, as its owner; gives the host key that it was met with."""
    from orchestrator.remote.failures import LoginRefusedError  # noqa: PLC0415 - takes long
    from orchestrator.remote.host_keys import KnownHosts, pin  # noqa: PLC0415 - the same
    from orchestrator.remote.ssh import run  # noqa: PLC0415 - the same

    attributes = way_to(request.record, request.known)
    quoted = shlex.quote(key.strip())
    with key_folder(private_key(request.secrets, request.folders.deployment)) as folder:
        own = folder / DEPLOYMENT_KEY
        jump = attributes.get("jump")
        way = {"jump": {"key_file": str(own), **jump}} if isinstance(jump, dict) else {}
        entry = {**attributes, "key_file": str(owner.key_file or ""), **way}
        target = target_of(entry, request.instance.address, lambda _ref, _where: "", user=getpass.getuser())
        target = pin(target, KnownHosts.of(request.folders.deployment / "state"), request.progress)
        try:
            done = run(target, _ADD_KEY % (quoted, quoted), _COMMAND_TIMEOUT)
        except LoginRefusedError as refused:
            try:
                done = run(replace(target, key_file=own), "true", _COMMAND_TIMEOUT)
            except LoginRefusedError:
                raise refused from None
    if done.exit_code:
        raise RemoteError(
            "A machine cannot be taken over.",
            detail=f"{target.login}: {done.stderr.strip()[-300:] or 'the key of the deployment could not be added'}.",
            resolution=f"The user {target.user} must be able to write ~/.ssh/authorized_keys and to use sudo without a "
            "password; name another one with --user.",
        )
    return target.host_key
