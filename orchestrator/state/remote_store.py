"""Keeps a deployment's state remotely: each step a write that fails if somebody else has made the same step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import StateError
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.durable_file import replace_file
from orchestrator.state.journal import JournalEntry, render_entry
from orchestrator.state.model import State
from orchestrator.state.remote_reading import ChangedMeanwhileError, RemoteReading, read_remote
from orchestrator.state.remote_storage import RemoteStorage
from orchestrator.state.snapshot import render_snapshot
from orchestrator.state.state_files import state_files

_LOOKS = 4
"""A reader without the lock may look in the middle of a compaction; it looks again so often before it believes it."""


class RemoteStateStore:
    """The state in a bucket or a database. See ``docs/adr/0016-state-back-ends.md``.

    One thread at a time; the session sees to that.

    Args:
        storage: The bucket or the database.
        clock: For the stamps.
        pause: Waits that many seconds.
    """

    def __init__(
        self, storage: RemoteStorage, *, clock: Clock = utc_now, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._pause = pause
        self._reading: RemoteReading | None = None
        self._serial = 0
        self._lineage = ""
        self._steps = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the last ``load`` came across and mended, in full sentences."""
        damage = self._reading.damage if self._reading else ""
        return (f"{damage}. The state was read from an older snapshot and the journal; nothing is lost.",) * bool(
            damage
        )

    def load(self) -> State | None:
        """The state as last written, or ``None`` if there is none; needs no lock and writes nothing.

        Raises:
            StateVersionError: If a newer program wrote it.
            StateError: If it is damaged and cannot be rebuilt, or cannot be reached.
        """
        for look in range(1, _LOOKS + 1):
            try:
                self._reading = read_remote(self._storage)
                break
            except ChangedMeanwhileError:
                if look == _LOOKS:
                    raise
                self._pause(0.1 * look)
        state = self._loaded().state
        self._serial = state.serial if state else 0
        self._lineage = state.lineage if state else ""
        self._steps = self._loaded().has_steps
        return state

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Add entries, all or none, durable on return.

        Raises:
            StateError: If they do not follow what is kept, or cannot be written.
        """
        if not entries:
            return
        self._loaded()
        first, last = entries[0], entries[-1]
        lineage = self._lineage or first.lineage
        serials = [entry.serial for entry in entries]
        follows = serials == list(range(self._serial + 1, self._serial + 1 + len(entries)))
        what = f"Steps {first.serial} to {last.serial} were to be added"
        if not follows or any(entry.lineage != lineage for entry in entries):
            raise self._out_of_step(what, f"is at serial {self._serial}")
        if not self._storage.add_segment(first.serial, [render_entry(entry) for entry in entries]):
            raise self._out_of_step(what, "has another step in that place")
        self._serial, self._lineage, self._steps = last.serial, lineage, True

    def compact(self, state: State) -> None:
        """Keep a snapshot of ``state``; the snapshot before it and the journal since then stay as backup.

        Raises:
            StateError: If ``state`` is not what is kept, or it cannot be written.
        """
        reading = self._loaded()
        index = self._storage.index()
        kept = max([*index.snapshots, *index.segments], default=0)
        if state.serial != self._serial or kept > self._serial:
            raise self._out_of_step(f"A snapshot of serial {state.serial} was to be written", f"is at serial {kept}")
        if not self._steps and not reading.damage:
            return
        content = render_snapshot(state, render_time(self._clock()))
        self._storage.put_snapshot(state.serial, content, reading.base)
        self._steps = False
        self._reading = RemoteReading(state, state.serial)

    def install(self, state: State) -> None:
        """Put ``state`` in place of whatever is kept, even if that is damaged or of another lineage.

        Raises:
            StateError: If it cannot be written.
        """
        self._storage.install(state.serial, render_snapshot(state, render_time(self._clock())))
        self.load()

    def copy_files(self, folder: Path) -> int:
        """Write what is kept, be it damaged or not, in the form of a state's files; returns the highest serial.

        Args:
            folder: Is there and empty.

        Raises:
            StateError: If it cannot be read or written.
        """
        index = self._storage.index()
        files = state_files(folder)
        for serial, path in zip(reversed(index.snapshots), (files.snapshot, files.older_snapshot), strict=False):
            replace_file(path, self._storage.read_snapshot(serial) or b"")
        segments = self._storage.read_segments(index.segments)
        replace_file(files.journal, b"".join(segments[first] for first in index.segments if first in segments))
        return max([*index.snapshots, *index.segments], default=0)

    def delete(self) -> None:
        """Remove the state; a crash leaves it either whole or gone.

        Raises:
            StateError: If that is refused.
        """
        self._storage.clear()
        self._reading, self._serial, self._lineage, self._steps = None, 0, "", False

    def _loaded(self) -> RemoteReading:
        if self._reading is None:
            self.load()
        if self._reading is None:
            raise AssertionError("loading gives a reading")
        return self._reading

    def _out_of_step(self, what: str, how: str) -> StateError:
        return StateError(
            "The state was changed by somebody else.",
            detail=f"{what} to {self._storage.place}, which {how} now. Nothing was changed.",
            resolution="Repeat the command. If it happens again, see who else works on this deployment: `deploy state "
            "list --all` shows who holds the lock.",
        )
