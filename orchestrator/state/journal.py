"""The journal: every step of a deployment's state as one line, and how lines become a state again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from orchestrator.errors import StateError
from orchestrator.state.model import SCHEMA_VERSION, InstanceRecord, Lifecycle, Pending, State
from orchestrator.state.records import Records
from orchestrator.state.upgrade import (
    ENTRY_UPGRADES,
    Document,
    NewerFormError,
    UnreadableFormError,
    upgrade_document,
)

_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{16})"\}$')


@dataclass(frozen=True, slots=True)
class Begun:
    """A fresh state; always serial 1."""

    deployment: str


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """What is being applied from here on."""

    template: str
    profile: str
    profile_options: Mapping[str, str] = field(default_factory=dict)
    application_root: str = ""


@dataclass(frozen=True, slots=True)
class InstancePut:
    """A node instance as known from here on, with the action that is pending."""

    instance: InstanceRecord


@dataclass(frozen=True, slots=True)
class InstanceRemoved:
    """Nothing is at the address any longer."""

    address: str


@dataclass(frozen=True, slots=True)
class VersionKept:
    """What was set with the last template was applied completely by ``run``; ``images`` as in a version."""

    run: str
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Continues:
    """First line of a journal: all up to the entry's serial is in the snapshot. Does not count as a step itself.

    It proves, when the snapshot is damaged, that an older snapshot and the older journal reach up to here.
    """


Record: TypeAlias = Begun | TemplateSet | InstancePut | InstanceRemoved | VersionKept
"""A step of the state."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A record with its place in the order.

    Attributes:
        serial: Serial of the state after this entry.
        lineage: Lineage of the state.
        time: When it was written, ISO 8601, for people.
        record: The step, or the mark at the journal's beginning.
    """

    serial: int
    lineage: str
    time: str
    record: Record | Continues


class ReplayError(StateError):
    """Entries do not fit the state or one another.

    Attributes:
        index: Which of the entries is the first that does not fit, from 0.
        reason: Why, as a clause.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__("The journal does not fit the state.", detail=f"Entry {index + 1}: {reason}.")
        self.index = index
        self.reason = reason


def replay(snapshot: State | None, entries: Iterable[JournalEntry]) -> State | None:
    """The state after ``entries``, which may begin before the snapshot and must not leave a gap.

    Returns:
        ``None`` if there is neither a snapshot nor an entry that begins a state.

    Raises:
        ReplayError: If an entry is of another lineage, out of order, or missing before another.
    """
    state = snapshot
    instances = dict(snapshot.instances) if snapshot else {}
    previous: int | None = None
    for index, entry in enumerate(entries):
        reached = state.serial if state else 0
        problem = _misfit(state, reached, previous, entry)
        if problem:
            raise ReplayError(index, problem)
        previous = entry.serial
        if entry.serial <= reached or isinstance(entry.record, Continues):
            continue
        state = _step(state, instances, entry)
    return replace(state, instances=instances) if state else None


def advance(state: State | None, entry: JournalEntry) -> State:
    """The state one entry later; the same as ``replay`` of that entry alone, and as fast for many nodes as for few.

    Raises:
        ReplayError: If the entry does not follow the state.
    """
    problem = _misfit(state, state.serial if state else 0, None, entry)
    if problem or isinstance(entry.record, Continues):
        raise ReplayError(0, problem or "it is no step")
    records = Records.of(state.instances) if state else Records({})
    if isinstance(entry.record, InstancePut):
        records = records.put(entry.record.instance)
    elif isinstance(entry.record, InstanceRemoved):
        records = records.without(entry.record.address)
    return replace(_step(state, {}, entry), instances=records)


def _misfit(state: State | None, reached: int, previous: int | None, entry: JournalEntry) -> str:
    """Why ``entry`` cannot follow, or an empty string."""
    if state and entry.lineage != state.lineage:
        return f"it is of lineage {entry.lineage}, the state before it of {state.lineage}"
    is_mark = isinstance(entry.record, Continues)
    if previous is None:
        least = reached if is_mark else reached + 1
        if entry.serial > least:
            return f"it has serial {entry.serial}, but what comes before it ends at serial {reached}"
    elif entry.serial != (previous if is_mark else previous + 1):
        return f"it has serial {entry.serial} and follows serial {previous}"
    if entry.serial > reached and isinstance(entry.record, Begun) != (state is None):
        return "it begins a state that is there already" if state else "no entry before it begins a state"
    return ""


def _step(state: State | None, instances: dict[str, InstanceRecord], entry: JournalEntry) -> State:
    """The state after ``entry``, its instances left to the caller, who keeps them in one dict for all steps."""
    record = entry.record
    if isinstance(record, Begun):
        return State(deployment=record.deployment, lineage=entry.lineage, serial=entry.serial)
    if state is None:
        raise ReplayError(0, "no entry before it begins a state")
    if isinstance(record, TemplateSet):
        return replace(
            state,
            serial=entry.serial,
            template=record.template,
            profile=record.profile,
            profile_options=dict(record.profile_options),
            application_root=record.application_root,
        )
    if isinstance(record, VersionKept):
        return replace(state.with_version(entry.time, record.run, record.images), serial=entry.serial)
    if isinstance(record, InstancePut):
        instances[record.instance.address] = record.instance
    elif isinstance(record, InstanceRemoved):
        instances.pop(record.address, None)
    return replace(state, serial=entry.serial)


def render_json(value: object) -> str:
    """Compact JSON in ASCII, so that no character of a value can end a line.

    Raises:
        StateError: If the value holds something that JSON cannot (an object, NaN).
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError) as cause:
        raise StateError(
            "A record cannot be written to the state.",
            detail=f"It holds something that has no JSON form: {cause}.",
            resolution="This is a fault of the program; please report it with the run's debug log.",
        ) from cause


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def render_entry(entry: JournalEntry) -> bytes:
    """The entry as one line with its end; the checksum covers every byte before it."""
    body = render_json(
        {
            "schema": SCHEMA_VERSION,
            "serial": entry.serial,
            "lineage": entry.lineage,
            "time": entry.time,
            **_record_to_json(entry.record),
        }
    ).encode("ascii")
    return b'%s,"checksum":"%s"}\n' % (body[:-1], _digest(body[:-1]))


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode("ascii")


def parse_entry(line: bytes) -> JournalEntry:
    """Read one line, without its end.

    Raises:
        NewerFormError: If a newer program wrote it.
        UnreadableFormError: If it is damaged.
    """
    found = _CHECKSUM.search(line)
    intact = found is not None and _digest(line[: found.start()]) == found[1]
    try:
        document = json.loads(line)
    except ValueError as cause:
        raise UnreadableFormError("it is not whole JSON") from cause
    if not isinstance(document, dict):
        raise UnreadableFormError("it is no JSON object")
    if not intact:
        version = document.get("schema")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerFormError(version)
        raise UnreadableFormError("its checksum does not match: it was altered after it was written")
    document = upgrade_document(document, ENTRY_UPGRADES)
    try:
        record = _record_from_json(document["kind"], document["data"])
        return JournalEntry(int(document["serial"]), str(document["lineage"]), str(document["time"]), record)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise UnreadableFormError(f"it lacks something or holds something else instead ({cause!r})") from cause


def _record_to_json(record: Record | Continues) -> Document:
    if isinstance(record, Begun):
        return {"kind": "begun", "data": {"deployment": record.deployment}}
    if isinstance(record, TemplateSet):
        content = {name: getattr(record, name) for name in TemplateSet.__slots__}
        return {"kind": "template-set", "data": content}
    if isinstance(record, InstancePut):
        return {"kind": "instance-put", "data": instance_to_json(record.instance)}
    if isinstance(record, InstanceRemoved):
        return {"kind": "instance-removed", "data": {"address": record.address}}
    if isinstance(record, VersionKept):
        return {"kind": "version-kept", "data": {"run": record.run, "images": record.images}}
    return {"kind": "continues", "data": {}}


def _record_from_json(kind: str, data: Document) -> Record | Continues:
    if kind == "begun":
        return Begun(**data)
    if kind == "template-set":
        return TemplateSet(**data)
    if kind == "instance-put":
        return InstancePut(instance_from_json(data))
    if kind == "instance-removed":
        return InstanceRemoved(**data)
    if kind == "version-kept":
        return VersionKept(**data)
    if kind == "continues":
        return Continues(**data)
    raise ValueError(f"unknown kind {kind!r}")


def instance_to_json(record: InstanceRecord) -> dict[str, Any]:
    """An instance as a JSON object, fields named as in the model."""
    content = {name: getattr(record, name) for name in InstanceRecord.__slots__}
    if record.pending is not None:
        content["pending"] = {name: getattr(record.pending, name) for name in Pending.__slots__}
    return content


def instance_from_json(content: Document) -> InstanceRecord:
    """An instance from its JSON object; raises TypeError, KeyError or ValueError if it is none."""
    return InstanceRecord(
        **{
            **content,
            "lifecycle": Lifecycle(content["lifecycle"]),
            "dependencies": tuple(content["dependencies"]),
            "pending": Pending(**content["pending"]) if content["pending"] is not None else None,
        }
    )
