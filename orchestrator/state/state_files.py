"""Reads the files of a local state and says in plain words what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StateError, StateVersionError
from orchestrator.state.durable_file import read_if_there
from orchestrator.state.journal import Continues, JournalEntry, ReplayError, parse_entry, replay
from orchestrator.state.model import State
from orchestrator.state.snapshot import parse_snapshot
from orchestrator.state.upgrade import NewerFormError, UnreadableFormError


@dataclass(frozen=True, slots=True)
class StateFiles:
    """Paths of the files of one local state; ``older_*`` are the ones before the last compaction."""

    snapshot: Path
    journal: Path
    older_snapshot: Path
    older_journal: Path


def state_files(folder: Path) -> StateFiles:
    """The paths inside ``folder``."""
    return StateFiles(
        folder / "snapshot.json",
        folder / "journal.jsonl",
        folder / "snapshot.json.backup",
        folder / "journal.jsonl.backup",
    )


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal as read.

    Attributes:
        path: The file.
        entries: One a whole line.
        size: Bytes up to the end of the last whole line.
        torn: Bytes after it: a line that a power cut left half-written.
    """

    path: Path
    entries: tuple[JournalEntry, ...] = ()
    size: int = 0
    torn: int = 0

    @property
    def base(self) -> int | None:
        """Serial that the journal stands on; ``None`` if its first line is missing."""
        first = self.entries[0] if self.entries else None
        return first.serial if first and isinstance(first.record, Continues) else None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the files say.

    Attributes:
        state: The state, or ``None`` if there is none.
        snapshot_serial: Serial of the snapshot file; -1 if there is none.
        journal: The journal file, or ``None`` if there is none.
        damage: What is wrong with the snapshot file if the state was rebuilt from the older one; else empty.
    """

    state: State | None
    snapshot_serial: int = -1
    journal: Journal | None = None
    damage: str = ""


def read_state(folder: Path) -> Reading:
    """Read the state; nothing is written.

    Raises:
        StateVersionError: If a newer program wrote any of it.
        StateError: If it is damaged and cannot be rebuilt for certain.
    """
    files = state_files(folder)
    content = read_if_there(files.snapshot)
    journal = _read_journal(files.journal)
    try:
        snapshot = parse_snapshot(content) if content is not None else None
    except NewerFormError as cause:
        raise _newer(files.snapshot, cause) from cause
    except UnreadableFormError as cause:
        return _rebuilt(files, journal, f"{files.snapshot} is damaged: {cause}")
    if snapshot is None:
        if files.older_snapshot.exists() or (journal and journal.base):
            return _rebuilt(files, journal, f"{files.snapshot} is missing")
        if journal and not journal.entries:
            raise _empty_journal(journal)
    if snapshot and journal and (journal.base or 0) > snapshot.serial:
        bridged = _bridged(snapshot, journal, files)
        if bridged:
            return Reading(bridged, -1, journal, f"{files.snapshot} is older than {files.journal.name} beside it")
    state = _replayed(snapshot, journal, files) if journal else snapshot
    return Reading(state, snapshot.serial if snapshot else -1, journal)


def _read_journal(path: Path) -> Journal | None:
    content = read_if_there(path)
    if content is None:
        return None
    lines = content.split(b"\n")
    torn = lines.pop()
    entries: list[JournalEntry] = []
    size = 0
    for number, line in enumerate(lines, 1):
        try:
            entries.append(parse_entry(line))
        except NewerFormError as cause:
            raise _newer(path, cause, number) from cause
        except UnreadableFormError as cause:
            # After a power cut a file may have its new length but, for the last write, zeros in place of its content.
            if number == len(lines) and not torn and b"\0" in line:
                return Journal(path, tuple(entries), size, len(line) + 1)
            raise _damaged_line(path, number, entries, f"is damaged: {cause}") from cause
        size += len(line) + 1
    return Journal(path, tuple(entries), size, len(torn))


def _replayed(snapshot: State | None, journal: Journal, files: StateFiles) -> State | None:
    try:
        return replay(snapshot, journal.entries)
    except ReplayError as cause:
        where = files.snapshot if snapshot else journal.path
        entries = list(journal.entries[: cause.index])
        reason = f"does not fit {where}" if cause.index == 0 else "does not fit the lines before it"
        raise _damaged_line(journal.path, cause.index + 1, entries, f"{reason}: {cause.reason}") from cause


def _bridged(snapshot: State, journal: Journal, files: StateFiles) -> State | None:
    """The state over the older journal, where the snapshot is whole and only older than the journal that follows it.

    So it is when a disk lost the last rename, or when somebody put an older copy of the file back.
    """
    try:
        between = _read_journal(files.older_journal)
        return replay(snapshot, (*(between.entries if between else ()), *journal.entries))
    except (StateError, ReplayError):
        return None


def _rebuilt(files: StateFiles, journal: Journal | None, damage: str) -> Reading:
    """The state from the older snapshot and the journals, if it is certain that nothing is lost by that."""
    older = _older_snapshot(files, damage)
    if journal is None or journal.base is None:
        raise _lossy(files, older, damage, f"{files.journal.name} does not tell how far the snapshot went")
    entries = journal.entries
    if journal.base > (older.serial if older else 0):
        try:
            bridge = _read_journal(files.older_journal)
        except StateVersionError:
            raise
        except StateError as cause:
            raise _lossy(files, older, damage, f"the journal after it is damaged too: {cause.detail}") from cause
        entries = (bridge.entries if bridge else ()) + entries
    try:
        state = replay(older, entries)
    except ReplayError as cause:
        reason = f"the journals do not reach from there to the present ({cause.reason})"
        raise _lossy(files, older, damage, reason) from cause
    return Reading(state, -1, journal, damage)


def _older_snapshot(files: StateFiles, damage: str) -> State | None:
    """The older snapshot; ``None`` before the second compaction, when the older journal begins with the state."""
    content = read_if_there(files.older_snapshot)
    if content is None:
        return None
    try:
        return parse_snapshot(content)
    except NewerFormError as cause:
        raise _newer(files.older_snapshot, cause) from cause
    except UnreadableFormError as cause:
        raise _lossy(files, None, damage, f"{files.older_snapshot} is damaged too: {cause}") from cause


def _newer(path: Path, cause: NewerFormError, line: int = 0) -> StateVersionError:
    place = f"{path}, line {line}," if line else f"{path}"
    return StateVersionError(
        "The state was written by a newer version of this program.",
        detail=f"{place} has {cause}. Nothing was changed.",
        resolution="Use the version of continuum-deploy that wrote it, or a later one.",
    )


def _damaged_line(path: Path, number: int, before: list[JournalEntry], what: str) -> StateError:
    reached = f"The lines before it are whole and reach serial {before[-1].serial}. " if before else ""
    keep = f"`cp {path} {path}.damaged && head -n {number - 1} {path}.damaged > {path}`"
    return StateError(
        "The state is damaged.",
        detail=f"{path}, line {number}, {what}. {reached}Nothing was changed.",
        resolution=(
            "Put the file back from a copy of your own if you have one. Otherwise go on without that line and those "
            f"after it with {keep}; then look at the plan with care: what was made by the lost steps is found by its "
            "tags at the next apply."
        ),
    )


def _empty_journal(journal: Journal) -> StateError:
    return StateError(
        "The state is damaged.",
        detail=f"{journal.path} holds no whole line and there is no snapshot beside it. Nothing was changed.",
        resolution=(
            "Put the folder back from a copy of your own. Only if nothing was ever applied, remove "
            f"{journal.path.parent} to begin anew; machines that exist would not be known any longer."
        ),
    )


def _lossy(files: StateFiles, older: State | None, damage: str, reason: str) -> StateError:
    if older is None:
        return StateError(
            "The state is damaged.",
            detail=f"{damage}. It cannot be rebuilt, since {reason}. Nothing was changed.",
            resolution=f"Put {files.snapshot} back from a copy of your own, then repeat the command.",
        )
    return StateError(
        "The state is damaged.",
        detail=(
            f"{damage}. {files.older_snapshot} is whole and holds serial {older.serial}, but {reason}, so later steps "
            "would be lost. Nothing was changed."
        ),
        resolution=(
            f"Put {files.snapshot} back from a copy of your own if you have one. Otherwise go back to serial "
            f"{older.serial}: move {files.snapshot.name} and {files.journal.name} out of {files.snapshot.parent}, "
            f"copy {files.older_snapshot.name} to {files.snapshot.name}, and look at the plan with care: what was made "
            "by the lost steps is found by its tags at the next apply."
        ),
    )
