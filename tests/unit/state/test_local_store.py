"""The state in a folder: compaction, damage of every kind, and what the messages say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StateError, StateVersionError
from orchestrator.state import local_store, upgrade
from orchestrator.state.journal import InstancePut, JournalEntry, render_entry
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import SCHEMA_VERSION, InstanceRecord, State
from orchestrator.state.session import DeploymentSession
from orchestrator.state.snapshot import parse_snapshot, render_snapshot

SNAPSHOT, JOURNAL = "snapshot.json", "journal.jsonl"


def instance(number: int, **attributes: str) -> InstanceRecord:
    return InstanceRecord(f"edge[{number}]", "edge", "continuum.nodes.Machine", attributes=dict(attributes))


def open_store(folder: Path) -> LocalStateStore:
    return LocalStateStore(folder, reread_pause=0)


def open_session(folder: Path) -> DeploymentSession:
    return DeploymentSession(open_store(folder), "demo")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo" / "state"


@pytest.fixture
def filled(folder: Path) -> Path:
    """A state with a snapshot, a backup, and three steps in the journal."""
    session = open_session(folder)
    session.set_template("template", "local", {"k3s": "standin"})
    session.record(instance(0, host="10.0.0.2"))
    session.snapshot()
    for number in (1, 2, 3):
        session.record(instance(number))
    return folder


def loaded(folder: Path) -> State:
    state = open_store(folder).load()
    assert state is not None
    return state


def refused(folder: Path) -> StateError:
    """The error that loading raises; nothing may have been written by it."""
    before = contents(folder)
    with pytest.raises(StateError) as caught:
        open_store(folder).load()
    assert contents(folder) == before
    assert caught.value.detail
    assert caught.value.resolution
    return caught.value


def test_nothing_there_is_no_state(folder: Path) -> None:
    store = open_store(folder)
    assert store.load() is None
    assert store.warnings == ()
    store.delete()
    assert not folder.exists()


def test_the_first_step_leaves_the_lineage_in_two_files(folder: Path) -> None:
    session = open_session(folder)
    session.record(instance(0))
    assert parse_snapshot((folder / SNAPSHOT).read_bytes()).lineage == session.state.lineage
    assert (folder / JOURNAL).read_bytes().count(session.state.lineage.encode()) == 2
    (folder / JOURNAL).unlink()
    store = open_store(folder)
    state = store.load()
    assert state is not None
    assert state.lineage == session.state.lineage
    assert "missing or empty" in store.warnings[0]


def test_serial_grows_by_one_with_every_step(filled: Path) -> None:
    assert loaded(filled).serial == 6
    session = open_session(filled)
    session.remove("edge[3]")
    session.remove("edge[3]")
    session.set_template("template", "local", {"k3s": "standin"})
    assert session.state.serial == 7


def test_compaction_keeps_what_was_before(filled: Path) -> None:
    before = contents(filled)
    session = open_session(filled)
    session.snapshot()
    after = contents(filled)
    assert after["snapshot.json.backup"] == before[SNAPSHOT]
    assert after["journal.jsonl.backup"] == before[JOURNAL]
    assert after[JOURNAL].count(b"\n") == 1
    assert loaded(filled) == session.state
    session.snapshot()
    assert contents(filled) == after, "a snapshot of what is in the snapshot costs nothing"


def test_compaction_refuses_another_state(filled: Path) -> None:
    store = open_store(filled)
    state = store.load()
    assert state is not None
    with pytest.raises(StateError, match="changed by somebody else"):
        store.compact(State("demo", state.lineage, state.serial + 1))


def test_delete_removes_everything(filled: Path) -> None:
    store = open_store(filled)
    store.load()
    store.delete()
    assert list(filled.parent.iterdir()) == []
    assert store.load() is None


def test_files_are_for_the_owner_only(filled: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in filled.iterdir()} == {0o600}


class Killed(BaseException):
    """Stands for a crash: nothing catches it."""


@pytest.mark.parametrize("damaged_before", [False, True])
@pytest.mark.parametrize("survived", range(6))
def test_a_crash_between_any_two_steps_of_compaction_loses_nothing(
    filled: Path, monkeypatch: pytest.MonkeyPatch, survived: int, damaged_before: bool
) -> None:
    if damaged_before:
        (filled / SNAPSHOT).write_bytes(b"")
    calls = iter(range(100))
    real = local_store.replace_file

    def dying(path: Path, content: bytes) -> None:
        if next(calls) >= survived:
            raise Killed
        real(path, content)

    session = open_session(filled)
    monkeypatch.setattr(local_store, "replace_file", dying)
    try:
        session.snapshot()
    except Killed:
        pass
    else:
        assert survived >= 4
    monkeypatch.undo()
    assert loaded(filled) == session.state
    for damage in (b"", (filled / SNAPSHOT).read_bytes()[:-20]):
        (filled / SNAPSHOT).write_bytes(damage)
        assert loaded(filled) == session.state, "the snapshot can be rebuilt at any of these points"
    resumed = open_session(filled)
    resumed.record(instance(9))
    resumed.snapshot()
    assert loaded(filled) == resumed.state


def test_a_damaged_snapshot_is_rebuilt_when_nothing_is_lost(filled: Path) -> None:
    whole = loaded(filled)
    (filled / SNAPSHOT).write_bytes((filled / SNAPSHOT).read_bytes()[:100])
    before = contents(filled)
    store = open_store(filled)
    assert store.load() == whole
    assert "snapshot.json is damaged: it is cut off" in store.warnings[0]
    assert "nothing is lost" in store.warnings[0]
    assert contents(filled) == before, "looking changes nothing"
    session = open_session(filled)
    session.record(instance(4))
    session.snapshot()
    assert (filled / "snapshot.json.damaged").read_bytes() == before[SNAPSHOT]
    reread = open_store(filled)
    assert reread.load() == session.state
    assert reread.warnings == ()


def test_a_snapshot_lost_before_there_is_a_backup_is_rebuilt_from_the_journals(folder: Path) -> None:
    session = open_session(folder)
    session.record(instance(0))
    assert not (folder / "snapshot.json.backup").exists()
    (folder / SNAPSHOT).unlink()
    (folder / SNAPSHOT).write_bytes(b"")
    assert loaded(folder) == session.state


@pytest.mark.parametrize("name", [JOURNAL, "journal.jsonl.backup"])
def test_a_damaged_snapshot_that_cannot_be_rebuilt_names_the_backup(filled: Path, name: str) -> None:
    (filled / SNAPSHOT).write_bytes(b"")
    (filled / name).unlink()
    error = refused(filled)
    assert f"{filled / SNAPSHOT} is damaged: it is empty" in error.detail
    assert f"{filled / 'snapshot.json.backup'} is whole and holds serial 1" in error.detail
    assert "copy snapshot.json.backup to snapshot.json" in error.resolution
    # What the message says works.
    for doomed in (SNAPSHOT, JOURNAL):
        (filled / doomed).unlink(missing_ok=True)
    (filled / SNAPSHOT).write_bytes((filled / "snapshot.json.backup").read_bytes())
    assert loaded(filled).serial == 1


def test_snapshot_and_backup_damaged(filled: Path) -> None:
    (filled / SNAPSHOT).write_bytes(b"{}")
    (filled / "snapshot.json.backup").write_bytes(b"[1]")
    assert "snapshot.json.backup is damaged too" in refused(filled).detail


def test_a_missing_snapshot_is_noticed(filled: Path) -> None:
    whole = loaded(filled)
    (filled / SNAPSHOT).unlink()
    store = open_store(filled)
    assert store.load() == whole
    assert "is missing" in store.warnings[0]


def test_an_empty_journal_without_a_snapshot_is_no_empty_state(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_bytes(b'{"schema":1,')
    assert "holds no whole line" in refused(folder).detail


def test_a_bad_line_in_the_middle_is_named(filled: Path) -> None:
    lines = (filled / JOURNAL).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"edge[2]", b"edge[7]")
    (filled / JOURNAL).write_bytes(b"".join(lines))
    error = refused(filled)
    assert f"{filled / JOURNAL}, line 3, is damaged: its checksum does not match" in error.detail
    assert "reach serial 4" in error.detail
    # What the message says works.
    command = re.search(r"head -n (\d+)", error.resolution)
    assert command is not None
    (filled / JOURNAL).write_bytes(b"".join(lines[: int(command[1])]))
    assert loaded(filled).serial == 4


def test_a_missing_line_is_named(filled: Path) -> None:
    lines = (filled / JOURNAL).read_bytes().splitlines(keepends=True)
    (filled / JOURNAL).write_bytes(b"".join(lines[:2] + lines[3:]))
    assert "line 3, does not fit the lines before it: it has serial 6 and follows serial 4" in refused(filled).detail


def test_a_half_written_line_is_left_out_and_cut_off_by_the_next_step(filled: Path) -> None:
    whole = loaded(filled)
    with (filled / JOURNAL).open("ab") as journal:
        journal.write(b'{"schema":1,"serial":7,"lin')
    store = open_store(filled)
    assert store.load() == whole
    assert "written only half (27 bytes)" in store.warnings[0]
    assert (filled / JOURNAL).read_bytes().endswith(b'"lin')
    session = open_session(filled)
    session.record(instance(4))
    assert b'"lin{' not in (filled / JOURNAL).read_bytes()
    assert loaded(filled) == session.state


def test_zeros_in_place_of_the_last_line_are_left_out(filled: Path) -> None:
    whole = loaded(filled)
    for tail in (b"\0" * 300, b"\0" * 300 + b'"}\n'):
        journal = (filled / JOURNAL).read_bytes()
        (filled / JOURNAL).write_bytes(journal + tail)
        assert loaded(filled) == whole
        session = open_session(filled)
        session.record(instance(4))
        whole = session.state
        assert loaded(filled) == whole


def test_a_journal_of_another_lineage_is_refused(filled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "state"
    session = open_session(other)
    session.record(instance(0))
    (filled / JOURNAL).write_bytes((other / JOURNAL).read_bytes())
    assert (
        f"line 1, does not fit {filled / SNAPSHOT}: it is of lineage {session.state.lineage}" in refused(filled).detail
    )


def test_a_state_of_another_deployment_is_refused(filled: Path) -> None:
    with pytest.raises(StateError, match="belongs to another deployment"):
        DeploymentSession(open_store(filled), "other")


@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL])
def test_a_newer_version_is_refused(filled: Path, name: str) -> None:
    content = (filled / name).read_bytes()
    (filled / name).write_bytes(content.replace(b'{"schema":%d' % SCHEMA_VERSION, b'{"schema":99'))
    error = refused(filled)
    assert isinstance(error, StateVersionError)
    assert str(filled / name) in error.detail
    assert "schema version 99" in error.detail
    assert "later" in error.resolution


def test_an_older_version_is_upgraded_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {1: lambda d: {**d, "a": 1}, 2: lambda d: {**d, "b": d["a"] + 1}}
    assert upgrade.upgrade_document({"schema": 1}, table, target=3) == {"schema": 3, "a": 1, "b": 2}
    with pytest.raises(upgrade.UnreadableFormError, match="no upgrade from schema version 0"):
        upgrade.upgrade_document({"schema": 0}, table, target=3)
    with pytest.raises(upgrade.UnreadableFormError, match="does not say"):
        upgrade.upgrade_document({"schema": "1"}, table, target=3)


def test_a_second_writer_is_noticed(filled: Path) -> None:
    first, second = open_session(filled), open_session(filled)
    first.record(instance(5))
    known = second.state
    with pytest.raises(StateError, match="changed by somebody else"):
        second.record(instance(6))
    assert second.state == known
    assert loaded(filled) == first.state


def test_entries_that_do_not_follow_are_refused(filled: Path) -> None:
    store = open_store(filled)
    state = store.load()
    assert state is not None
    for serial, lineage in ((state.serial, state.lineage), (state.serial + 2, state.lineage), (state.serial + 1, "x")):
        with pytest.raises(StateError, match="changed by somebody else"):
            store.append([JournalEntry(serial, lineage, "now", InstancePut(instance(8)))])
    assert loaded(filled) == state


def test_several_entries_are_one_write(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(filled)
    state = store.load()
    assert state is not None
    writes: list[bytes] = []
    real = os.write

    def counting(descriptor: int, content: bytes) -> int:
        writes.append(bytes(content))
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", counting)
    entries = [JournalEntry(state.serial + n, state.lineage, "now", InstancePut(instance(n))) for n in (1, 2, 3)]
    store.append(entries)
    assert writes == [b"".join(render_entry(entry) for entry in entries)]
    assert loaded(filled).serial == state.serial + 3


def test_leftovers_of_killed_writes_are_swept_up(filled: Path) -> None:
    (filled / ".snapshot.json.abc.tmp").write_bytes(b"half")
    open_session(filled).snapshot()
    assert not list(filled.glob(".*.tmp"))


def test_a_reader_sees_a_whole_state_while_another_writes(filled: Path) -> None:
    """The files may change between reading the snapshot and reading the journal; a reader looks again then."""
    session = open_session(filled)
    store = LocalStateStore(filled, reread_pause=0)
    real = local_store.read_state
    looks: Iterator[int] = iter(range(9))

    def interrupted(folder: Path) -> object:
        if next(looks) == 0:
            old = (folder / SNAPSHOT).read_bytes()
            session.snapshot()
            new = (folder / SNAPSHOT).read_bytes()
            (folder / SNAPSHOT).write_bytes(old)
            try:
                return real(folder)
            finally:
                (folder / SNAPSHOT).write_bytes(new)
        return real(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_store, "read_state", interrupted)
        assert store.load() == session.state
    assert next(looks) == 3, "one look in between, one of the writer itself, and one more"


def test_a_snapshot_is_json_for_other_programs(filled: Path) -> None:
    import json

    document = json.loads((filled / SNAPSHOT).read_text(encoding="utf-8"))
    assert document["deployment"] == "demo"
    assert document["instances"]["edge[0]"]["attributes"] == {"host": "10.0.0.2"}
    assert parse_snapshot(render_snapshot(loaded(filled), "now")) == loaded(filled)


def test_a_snapshot_older_than_the_journal_beside_it_is_bridged(filled: Path) -> None:
    """As a disk leaves it that kept the second rename of a compaction and lost the first."""
    session = open_session(filled)
    session.record(instance(8))
    older = (filled / SNAPSHOT).read_bytes()
    session.snapshot()
    session.record(instance(9))
    (filled / SNAPSHOT).write_bytes(older)
    store = open_store(filled)
    assert store.load() == session.state
    assert "is older than journal.jsonl beside it" in store.warnings[0]
    assert "nothing is lost" in store.warnings[0]
    resumed = open_session(filled)
    resumed.record(instance(10))
    resumed.snapshot()
    assert loaded(filled) == resumed.state
    assert open_store(filled).warnings == ()


def test_a_snapshot_too_old_to_be_bridged_is_refused(filled: Path) -> None:
    session = open_session(filled)
    older = (filled / SNAPSHOT).read_bytes()
    for number in (8, 9):
        session.record(instance(number))
        session.snapshot()
    (filled / SNAPSHOT).write_bytes(older)
    assert "does not fit" in refused(filled).detail
