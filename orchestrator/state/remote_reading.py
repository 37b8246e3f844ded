"""Reads a state that is kept remotely, and says in plain words what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import StateError, StateVersionError
from orchestrator.state.journal import JournalEntry, ReplayError, parse_entry, replay
from orchestrator.state.model import State
from orchestrator.state.remote_storage import Index, RemoteStorage
from orchestrator.state.snapshot import parse_snapshot
from orchestrator.state.upgrade import NewerFormError, UnreadableFormError


@dataclass(frozen=True, slots=True)
class RemoteReading:
    """What is kept.

    Attributes:
        state: The state, or ``None`` if there is none.
        base: Serial of the snapshot it was read from; 0 if from the journal alone.
        has_steps: Whether entries came after that snapshot.
        damage: What is wrong with a newer snapshot if an older one was taken; else empty.
    """

    state: State | None
    base: int = 0
    has_steps: bool = False
    damage: str = ""


class RemoteDamageError(StateError):
    """What is kept was altered, or a part of it is missing; it could be reached."""


class ChangedMeanwhileError(RemoteDamageError):
    """Something that the index named was gone: it was replaced while we read, or is lost."""


def read_remote(storage: RemoteStorage) -> RemoteReading:
    """Read the state; nothing is written.

    Raises:
        ChangedMeanwhileError: If something that was named is not there.
        StateVersionError: If a newer program wrote any of it.
        StateError: If it is damaged and cannot be rebuilt for certain.
    """
    index = storage.index()
    if not index.snapshots and not index.segments:
        return RemoteReading(None)
    damage = ""
    for serial in reversed(index.snapshots):
        content = storage.read_snapshot(serial)
        if content is None:
            raise _gone(storage, storage.describe_snapshot(serial))
        try:
            snapshot = parse_snapshot(content)
            if snapshot.serial != serial:
                raise UnreadableFormError(f"it holds serial {snapshot.serial}")  # noqa: TRY301 - told like any damage
        except NewerFormError as cause:
            raise _newer(storage.describe_snapshot(serial), cause) from cause
        except UnreadableFormError as cause:
            damage = damage or f"{storage.describe_snapshot(serial)} is damaged: {cause}"
            continue
        return _continued(storage, index, snapshot, damage)
    return _continued(storage, index, None, damage)


def _continued(storage: RemoteStorage, index: Index, snapshot: State | None, damage: str) -> RemoteReading:
    """The state after all segments that follow ``snapshot``."""
    base = snapshot.serial if snapshot else 0
    wanted = [first for first in index.segments if first > base]
    entries = _read_entries(storage, wanted, damage)
    try:
        state = replay(snapshot, [entry for _, entry in entries])
    except ReplayError as cause:
        at = entries[cause.index][0]
        raise _damaged(storage, storage.describe_segment(at), f"does not fit: {cause.reason}", damage) from cause
    newest = index.snapshots[-1] if index.snapshots else 0
    reached = state.serial if state else 0
    if reached < newest:
        raise _damaged(storage, "The journal", f"reaches only serial {reached}, not {newest}", damage)
    return RemoteReading(state, base, bool(entries), damage)


def _read_entries(storage: RemoteStorage, wanted: list[int], damage: str) -> list[tuple[int, JournalEntry]]:
    found = storage.read_segments(wanted) if wanted else {}
    entries: list[tuple[int, JournalEntry]] = []
    for first in wanted:
        if first not in found:
            raise _gone(storage, storage.describe_segment(first))
        lines = found[first].split(b"\n")
        if lines.pop():
            raise _damaged(storage, storage.describe_segment(first), "is cut off", damage)
        try:
            parsed = [parse_entry(line) for line in lines]
        except NewerFormError as cause:
            raise _newer(storage.describe_segment(first), cause) from cause
        except UnreadableFormError as cause:
            raise _damaged(storage, storage.describe_segment(first), f"is damaged: {cause}", damage) from cause
        if not parsed or parsed[0].serial != first:
            raise _damaged(storage, storage.describe_segment(first), f"does not begin with serial {first}", damage)
        entries += [(first, entry) for entry in parsed]
    return entries


def _newer(what: str, cause: NewerFormError) -> StateVersionError:
    return StateVersionError(
        "The state was written by a newer version of this program.",
        detail=f"{what} has {cause}. Nothing was changed.",
        resolution="Use the version of continuum-deploy that wrote it, or a later one.",
    )


def _gone(storage: RemoteStorage, what: str) -> ChangedMeanwhileError:
    return ChangedMeanwhileError(
        "The state is damaged.",
        detail=f"{what} was listed in {storage.place} and is not there. Nothing was changed.",
        resolution="If somebody is removing the deployment, wait until that has ended. Otherwise put the missing part "
        "back (docs/state.md tells how), then repeat the command.",
        doc="docs/state.md",
    )


def _damaged(storage: RemoteStorage, what: str, how: str, damage: str) -> RemoteDamageError:
    before = f"{damage}, so an older snapshot was looked at. " if damage else ""
    return RemoteDamageError(
        "The state is damaged.",
        detail=f"{before}{what} {how}. Steps in {storage.place} are missing or were altered. Nothing was changed.",
        resolution=(
            "Put the missing part back: an earlier version of the object in a bucket that keeps versions, or a backup "
            "of the database. If there is none, docs/state.md tells how to go back to the last whole state; what was "
            "made by the lost steps is found by its tags at the next apply."
        ),
        doc="docs/state.md",
    )
