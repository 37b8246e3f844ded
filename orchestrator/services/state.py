"""What a person may do to a state by hand: look at it, take it out, put it back, rename, forget, unlock."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestrator.errors import LockedError, StateError, UsageError
from orchestrator.state.backend import lock_of, open_backend
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.durable_file import make_folder, replace_file
from orchestrator.state.folders import deployment_folder
from orchestrator.state.journal import InstancePut, InstanceRemoved, JournalEntry, Record
from orchestrator.state.lock import LockHolder, lives_here
from orchestrator.state.model import InstanceRecord, State
from orchestrator.state.snapshot import parse_snapshot, render_snapshot
from orchestrator.state.upgrade import NewerFormError, UnreadableFormError
from orchestrator.topology.model import Value

FORMAT_VERSION = 1
_ADDRESS = re.compile(r"(?P<node>[A-Za-z0-9][A-Za-z0-9._-]*)(\[(0|[1-9][0-9]*)\])?(@[1-9][0-9]*)?")


@dataclass(frozen=True, slots=True)
class KnownDeployment:
    """A deployment in the place of the states.

    Attributes:
        name: Its name.
        state: Its state; ``None`` if it cannot be read.
        holder: Who works on it now.
        problem: Why the state cannot be read; else empty.
    """

    name: str
    state: State | None
    holder: LockHolder | None
    problem: str = ""


def known_deployments() -> tuple[str, tuple[KnownDeployment, ...]]:
    """Where states are kept, and every deployment that is there, with who works on it."""
    backend = open_backend()
    found: list[KnownDeployment] = []
    try:
        for name in backend.deployments():
            lock = lock_of(name, backend)
            try:
                found.append(KnownDeployment(name, backend.state_store(name).load(), lock.read_holder()))
            except StateError as error:
                found.append(KnownDeployment(name, None, None, f"{error.summary} {error.detail}"))
        return backend.place, tuple(found)
    finally:
        backend.close()


def find_instance(state: State, address: str) -> InstanceRecord:
    """The record at an address.

    Raises:
        UsageError: If there is none; names what may have been meant.
    """
    record = state.instances.get(address)
    if record is not None:
        return record
    near = get_close_matches(address, state.instances, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        "There is no such instance.",
        detail=f"The state of {state.deployment} holds nothing at {address!r}.{hint}",
        resolution=f"`deploy state list {state.deployment}` lists every address.",
    )


def state_to_json(state: State) -> dict[str, Any]:
    """The whole state in the form of its snapshots, for people and for ``push``; holds no secret value."""
    document: dict[str, Any] = json.loads(render_snapshot(state, ""))
    for key in ("checksum", "time"):
        del document[key]
    return {"format_version": FORMAT_VERSION, **document}


def state_from_json(text: str, source: str) -> State:
    """A state from the form that ``pull`` prints, also that of an older version.

    Args:
        text: The text.
        source: What a person calls it.

    Raises:
        UsageError: If it is no state.
    """
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise UnreadableFormError("it is no JSON object")  # noqa: TRY301 - told like any other
        if document.pop("format_version", FORMAT_VERSION) != FORMAT_VERSION:
            raise UnreadableFormError("its format_version is not known")  # noqa: TRY301 - the same
        body = json.dumps({"time": "", **document}).encode("ascii")[:-1]
        digest = hashlib.sha256(body).hexdigest().encode("ascii")
        state = parse_snapshot(b'%s,\n"checksum":"%s"}\n' % (body, digest))
    except (ValueError, UnreadableFormError, NewerFormError) as cause:
        raise UsageError(
            "This is no state.",
            detail=f"{source}: {cause}.",
            resolution="Give what `deploy state pull` printed, changed by hand or not.",
        ) from cause
    wrong = [address for address, record in state.instances.items() if record.address != address]
    if wrong:
        raise UsageError(
            "This is no state.",
            detail=f"{source}: the record at {wrong[0]} says that its address is {state.instances[wrong[0]].address}.",
            resolution="Give every record the address it stands under, or use `deploy state mv`.",
        )
    return state


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Attributes:
        before: The state that was there; ``None`` if there was none or it could not be read.
        after: The state that is there now.
        backup: File with what was there; ``None`` if nothing was.
    """

    before: State | None
    after: State
    backup: Path | None


def push_state(pushed: State, command: str, *, force: bool = False) -> Pushed:
    """Put a state in place of the one that is kept.

    Args:
        pushed: The state.
        command: What is being done, shown to whoever is refused meanwhile.
        force: Even if it is of another lineage, or was not made from what is there now.

    Raises:
        LockedError: If somebody works on the deployment.
        StateError: If it does not follow what is there, or cannot be written.
    """
    backend = open_backend()
    with lock_of(pushed.deployment, backend).acquire(command):
        store = backend.state_store(pushed.deployment)
        try:
            before = store.load()
        except StateError:
            if not force:
                raise
            before = None
        if before is not None and not force:
            _check_follows(pushed, before)
        serial = max(pushed.serial, before.serial) + 1 if before is not None else max(pushed.serial, 1)
        backup = _back_up(before) if before is not None else None
        after = replace(pushed, serial=serial)
        store.install(after)
        return Pushed(before, after, backup)


def _check_follows(pushed: State, before: State) -> None:
    if pushed.lineage != before.lineage:
        raise StateError(
            "The state is of another deployment.",
            detail=f"What was given is of lineage {pushed.lineage}, what is kept under the name {before.deployment} of "
            f"{before.lineage}: they were begun apart, and know different machines. Nothing was changed.",
            resolution="See which of them is right. --force puts the given one in place all the same.",
        )
    if pushed.serial != before.serial:
        raise StateError(
            "The state moved on meanwhile.",
            detail=f"What was given was taken out at serial {pushed.serial}; serial {before.serial} is kept now. "
            "Nothing was changed.",
            resolution="Take it out again with `deploy state pull` and make the change there. --force puts the given "
            "one in place all the same; steps between the two are forgotten then.",
        )


def _back_up(state: State) -> Path:
    folder = deployment_folder(state.deployment) / "pushed-over"
    make_folder(folder)
    path = folder / f"serial-{state.serial:06d}.json"
    replace_file(path, (json.dumps(state_to_json(state), indent=2) + "\n").encode("ascii"))
    return path


def move_instance(name: str, source: str, target: str, command: str, *, clock: Clock = utc_now) -> State:
    """Give the record at ``source`` the address ``target``; whatever depends on it follows. Nothing outside changes.

    Raises:
        UsageError: If there is nothing at ``source`` or something at ``target``, or it is no address.
        LockedError: If somebody works on the deployment.
        StateError: If an action of it is unfinished, or the state cannot be written.
    """
    parsed = _ADDRESS.fullmatch(target)
    if parsed is None:
        raise UsageError(
            "This is no address.",
            detail=f"{target!r} was given. An address is a node's name, with its number where there are several: "
            "`edge` or `edge[0]`.",
            resolution="Give another one.",
        )

    def change(state: State) -> list[Record]:
        record = find_instance(state, source)
        if target in state.instances:
            raise UsageError(
                "Something is at that address already.",
                detail=f"The state of {name} holds {target}, of type {state.instances[target].type}.",
                resolution=f"Move that one elsewhere first, or drop it with `deploy state rm {target} {name}`.",
            )
        if record.pending is not None:
            raise StateError(
                "The instance is unfinished.",
                detail=f"The {record.pending.action} of {source} was begun and not ended; what it made is found again "
                "by that address.",
                resolution="Finish it with `deploy apply`, then repeat the command.",
            )
        node = parsed["node"]
        others = any(r.node == record.node and r.address != source for r in state.instances.values())
        renaming = _Renaming(source, target, "" if others else record.node, node)
        moved = replace(record, address=target, node=node)
        changed = [renaming.of(r) for r in state.instances.values() if r.address != source]
        return [
            InstanceRemoved(source),
            InstancePut(moved),
            *(InstancePut(r) for r in changed if r != state.instances[r.address]),
        ]

    return _change(name, command, change, clock)


def forget_instance(name: str, address: str, command: str, *, clock: Clock = utc_now) -> State:
    """Drop the record at ``address``; what it stands for stays where it is and is not looked after any longer.

    Raises:
        UsageError: If there is nothing at the address.
        LockedError: If somebody works on the deployment.
        StateError: If the state cannot be written.
    """

    def change(state: State) -> list[Record]:
        find_instance(state, address)
        return [InstanceRemoved(address)]

    return _change(name, command, change, clock)


def dependants_of(state: State, address: str) -> tuple[str, ...]:
    """Addresses of the instances that need it."""
    return tuple(r.address for r in state.instances.values() if address in r.dependencies)


def _change(name: str, command: str, change: Callable[[State], list[Record]], clock: Clock) -> State:
    """Append the records that ``change`` makes of the state, all or none; gives the state after them."""
    backend = open_backend()
    with lock_of(name, backend).acquire(command):
        store = backend.state_store(name)
        state = store.load()
        if state is None:
            raise UsageError("There is no such deployment.", detail=f"{backend.place} holds no state of {name}.")
        time = render_time(clock())
        steps = enumerate(change(state), state.serial + 1)
        store.append([JournalEntry(serial, state.lineage, time, record) for serial, record in steps])
        after = store.load()
        if after is None:
            raise AssertionError("steps do not end a state")
        return after


@dataclass(frozen=True, slots=True)
class _Renaming:
    """Puts an address in place of another wherever records name it.

    Attributes:
        source: Old address.
        target: New address.
        node: Old node, if none of its instances is left under that name; else empty.
        new_node: New node.
    """

    source: str
    target: str
    node: str
    new_node: str

    def of(self, record: InstanceRecord) -> InstanceRecord:
        """The record with the new address."""
        return replace(
            record,
            dependencies=tuple(self._address(a) for a in record.dependencies),
            wired={self._address(a): generation for a, generation in record.wired.items()},
            inputs={key: self._input(key, value) for key, value in record.inputs.items()},
        )

    def _address(self, text: str) -> str:
        return self.target if text == self.source else text

    def _input(self, key: str, value: Value) -> Value:
        if key.startswith("requirements.") and isinstance(value, list):
            return [self._address(a) if isinstance(a, str) else a for a in value]
        return self._value(value)

    def _value(self, value: Value) -> Value:
        if isinstance(value, Mapping):
            asked = value.get("get_attribute")
            if self.node and isinstance(asked, list) and asked and asked[0] == self.node:
                return {**value, "get_attribute": [self.new_node, *asked[1:]]}
            return {key: self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value


def read_lock(name: str) -> LockHolder | None:
    """Who holds the lock of a deployment, on this host or another; ``None`` if nobody does."""
    backend = open_backend()
    try:
        return lock_of(name, backend).read_holder()
    finally:
        backend.close()


def break_lock(name: str, holder: LockHolder, command: str) -> None:
    """Take the lock away from ``holder``, who is on another host, or gone.

    Raises:
        LockedError: If it or a child of it lives on this host, or somebody else holds the lock by now.
        StateError: If the lock cannot be reached.
    """
    backend = open_backend()
    # Whoever works on this host holds this one, and is told of by the refusal.
    with lock_of(name).acquire(command):
        if lives_here(holder):
            raise LockedError(
                "The holder of the lock is alive.",
                detail=f"Process {holder.pid} of {holder.user} on this host works on {name}: `{holder.command}`, since "
                f"{holder.since}, in {Path(holder.file).parent.parent}.",
                resolution=f"Stop it with Ctrl-C there (`kill -INT {holder.pid}`); the lock is free then.",
            )
        shared = backend.shared_lock(name)
        if shared is not None:
            shared.break_open(holder)
