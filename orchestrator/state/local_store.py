"""Keeps a deployment's state in a folder: a snapshot, a journal, and the ones before the last compaction."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import StateError
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.durable_file import (
    make_folder,
    read_if_there,
    remove_temporaries,
    replace_file,
    storage_error,
    sync_folder,
    write_all,
)
from orchestrator.state.journal import Continues, JournalEntry, render_entry
from orchestrator.state.model import State
from orchestrator.state.snapshot import render_snapshot
from orchestrator.state.state_files import Reading, read_state, state_files

_REREADS = 3
"""A reader without the lock may look in the middle of a write; it looks again so often before it believes it."""


class LocalStateStore:
    """The state in ``.deploy/<name>/state/``. See ``docs/adr/0006-journal-and-crash-adoption.md``.

    One thread at a time; the session sees to that.

    Args:
        folder: The folder; made at the first write.
        clock: For the stamps in the files.
        reread_pause: Seconds between two looks at files that seem to be in the middle of a write.
    """

    def __init__(self, folder: Path, *, clock: Clock = utc_now, reread_pause: float = 0.02) -> None:
        self._folder = folder
        self._files = state_files(folder)
        self._clock = clock
        self._pause = reread_pause
        self._reading: Reading | None = None
        self._serial = 0
        self._size = 0
        self._tail_is_torn = False
        self._warnings: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the last ``load`` came across and mended, in full sentences."""
        return self._warnings

    def load(self) -> State | None:
        """The state as last written, or ``None`` if there is none; needs no lock and writes nothing.

        Raises:
            StateVersionError: If a newer program wrote it.
            StateError: If it is damaged and cannot be rebuilt without losing anything.
        """
        return self._look().state

    def append(self, entries: Sequence[JournalEntry]) -> None:
        """Add entries, durable on return.

        Raises:
            StateError: If they do not follow what is kept, or cannot be written; nothing is added then.
        """
        if not entries:
            return
        reading = self._loaded()
        self._check_follows(reading.state, entries)
        lines = b"".join(render_entry(entry) for entry in entries)
        if reading.journal is None or not reading.journal.entries:
            make_folder(self._folder)
            lines = self._first_line(self._serial, entries[0].lineage) + lines
            replace_file(self._files.journal, lines)
            self._forget_reading(entries[-1].serial, len(lines))
            return
        self._write_at_end(lines)
        self._serial = entries[-1].serial
        self._size += len(lines)

    def compact(self, state: State) -> None:
        """Replace snapshot and journal by a snapshot of ``state``; what was there before is kept as backup.

        Raises:
            StateError: If ``state`` is not what the files say, or they cannot be written.
        """
        reading = self._loaded()
        if state.serial != self._serial:
            raise self._out_of_step(f"A snapshot of serial {state.serial} was to be written")
        if reading.journal is not None and not self._tail_is_torn and self._journal_size() != self._size:
            raise self._out_of_step(f"A snapshot of serial {state.serial} was to be written")
        journal_is_bare = reading.journal is not None and reading.journal.base == state.serial
        if reading.snapshot_serial == state.serial and journal_is_bare and not self._tail_is_torn:
            return
        content = render_snapshot(state, render_time(self._clock()))
        first_line = self._first_line(state.serial, state.lineage)
        remove_temporaries(self._folder)
        self._trim()
        # In this order the state can be read, and rebuilt from the backup files, between any two of the steps.
        if reading.damage:
            self._set_damaged_aside()
            replace_file(self._files.snapshot, content)
            replace_file(self._files.older_snapshot, content)
        else:
            self._keep(self._files.snapshot, self._files.older_snapshot)
            replace_file(self._files.snapshot, content)
        self._keep(self._files.journal, self._files.older_journal)
        replace_file(self._files.journal, first_line)
        self._look()

    def install(self, state: State) -> None:
        """Put ``state`` in place of whatever is kept; what was there is kept as backup.

        Raises:
            StateError: If it cannot be written.
        """
        try:
            before = self._look()
            follows = before.state is None or (before.state.lineage, before.damage) == (state.lineage, "")
            follows = follows and state.serial > self._serial
        except StateError:
            follows = False
        if not follows:
            self._set_folder_aside()
        make_folder(self._folder)
        remove_temporaries(self._folder)
        self._keep(self._files.snapshot, self._files.older_snapshot)
        replace_file(self._files.snapshot, render_snapshot(state, render_time(self._clock())))
        self._keep(self._files.journal, self._files.older_journal)
        replace_file(self._files.journal, self._first_line(state.serial, state.lineage))
        self._look()

    def delete(self) -> None:
        """Remove the state; a crash leaves it either whole or gone.

        Raises:
            StateError: If that is refused.
        """
        doomed = self._folder.with_name(f"{self._folder.name}.removed")
        try:
            if doomed.exists():
                shutil.rmtree(doomed)
            if self._folder.exists():
                self._folder.rename(doomed)
                sync_folder(self._folder.parent)
                shutil.rmtree(doomed)
        except OSError as cause:
            raise storage_error("remove", self._folder, cause) from cause
        self._reading = None

    def _set_folder_aside(self) -> None:
        """Keep the whole folder beside, in place of the one that was set aside before."""
        aside = self._folder.with_name(f"{self._folder.name}.replaced")
        try:
            if aside.exists():
                shutil.rmtree(aside)
            if self._folder.exists():
                self._folder.rename(aside)
                sync_folder(self._folder.parent)
        except OSError as cause:
            raise storage_error("write", self._folder, cause) from cause

    def _settled_reading(self) -> Reading:
        """Read until the files hold still: they are being written by somebody else, or are as a crash left them."""
        for _ in range(_REREADS - 1):
            try:
                reading = read_state(self._folder)
            except StateError:
                time.sleep(self._pause)
                continue
            if not reading.damage and not (reading.journal and reading.journal.torn):
                return reading
            time.sleep(self._pause)
        return read_state(self._folder)

    def _look(self) -> Reading:
        reading = self._settled_reading()
        journal = reading.journal
        self._reading = reading
        self._serial = reading.state.serial if reading.state else 0
        self._size = journal.size if journal else 0
        self._tail_is_torn = bool(journal and journal.torn)
        self._warnings = self._warnings_of(reading)
        return reading

    def _loaded(self) -> Reading:
        return self._reading or self._look()

    def _forget_reading(self, serial: int, size: int) -> None:
        """Read the files again before the next write, since there is a journal now where none was."""
        self._serial, self._size, self._reading = serial, size, None

    def _warnings_of(self, reading: Reading) -> tuple[str, ...]:
        found: list[str] = []
        if reading.damage:
            found.append(
                f"{reading.damage}. The state was rebuilt from {self._rebuilt_from(reading)}; nothing is lost."
            )
        if reading.journal and reading.journal.torn:
            found.append(
                f"The last line of {self._files.journal} was written only half ({reading.journal.torn} bytes), as a "
                "power cut or a full disk leaves it. The step it was to hold had not begun; the line is left out."
            )
        if reading.state and not reading.damage and (reading.journal is None or not reading.journal.entries):
            found.append(
                f"{self._files.journal} is missing or empty. The state is that of {self._files.snapshot.name} "
                f"(serial {reading.state.serial}); if steps came after it, what they made is found by its tags."
            )
        return tuple(found)

    def _rebuilt_from(self, reading: Reading) -> str:
        is_whole = reading.damage.startswith(f"{self._files.snapshot} is older")
        return (
            f"{self._files.older_journal.name} and what follows it"
            if is_whole
            else (f"{self._files.older_snapshot.name} and the journal")
        )

    def _check_follows(self, state: State | None, entries: Sequence[JournalEntry]) -> None:
        serials = [entry.serial for entry in entries]
        follows = serials == list(range(self._serial + 1, self._serial + 1 + len(entries)))
        lineage = state.lineage if state else entries[0].lineage
        if not follows or any(entry.lineage != lineage for entry in entries):
            raise self._out_of_step(f"Steps {serials[0]} to {serials[-1]} were to be added")

    def _out_of_step(self, what: str) -> StateError:
        return StateError(
            "The state was changed by somebody else.",
            detail=f"{what} to {self._folder}, which is at serial {self._serial} now. Nothing was changed.",
            resolution="Repeat the command, and see that no other program writes there.",
        )

    def _first_line(self, serial: int, lineage: str) -> bytes:
        return render_entry(JournalEntry(serial, lineage, render_time(self._clock()), Continues()))

    def _write_at_end(self, lines: bytes) -> None:
        path = self._files.journal
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                self._trim_open(descriptor)
                try:
                    write_all(descriptor, lines)
                    os.fdatasync(descriptor)
                except OSError:
                    # Leave no half line behind. If even that fails, the next write or load does it.
                    self._tail_is_torn = True
                    with contextlib.suppress(OSError):
                        self._trim_open(descriptor)
                    raise
            finally:
                os.close(descriptor)
        except OSError as cause:
            raise storage_error("write", path, cause) from cause

    def _trim_open(self, descriptor: int) -> None:
        """Cut off a torn tail; whole lines that nobody here wrote are not cut off but refused."""
        if self._tail_is_torn:
            os.ftruncate(descriptor, self._size)
            self._tail_is_torn = False
        elif os.fstat(descriptor).st_size != self._size:
            raise self._out_of_step("A step was to be added")

    def _journal_size(self) -> int:
        try:
            return self._files.journal.stat().st_size
        except OSError as cause:
            raise storage_error("read", self._files.journal, cause) from cause

    def _trim(self) -> None:
        path = self._files.journal
        if not self._tail_is_torn:
            return
        try:
            os.truncate(path, self._size)
        except OSError as cause:
            raise storage_error("write", path, cause) from cause
        self._tail_is_torn = False

    def _set_damaged_aside(self) -> None:
        content = read_if_there(self._files.snapshot)
        if content is not None:
            replace_file(self._files.snapshot.with_name("snapshot.json.damaged"), content)

    def _keep(self, path: Path, backup: Path) -> None:
        content = read_if_there(path)
        if content is not None:
            replace_file(backup, content)
