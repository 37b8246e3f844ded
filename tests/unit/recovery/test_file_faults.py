"""Faults of the disk under a running program: the state stays readable, the message says what to do, work goes on."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.state import durable_file, folders, local_store, lock
from orchestrator.state import session as session_module
from orchestrator.state.folders import state_folder
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import State
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.pretend import World

NAME = "mask-detection-rehearsal"
YES = ("--rehearse", "--auto-approve")


def state() -> State:
    found = LocalStateStore(state_folder(NAME)).load()
    assert found is not None
    return found


def change(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def check_goes_on(deploy: Deploy, application: Path, world: World) -> None:
    """The next apply finishes; nothing is there twice."""
    deploy("apply", application, *YES)
    assert world.addresses() == sorted(state().instances)
    assert "No changes" in deploy("apply", application, *YES)


def failing_after(monkeypatch: pytest.MonkeyPatch, count: int, number: int) -> None:
    """Every write to a file of the state fails from the ``count``-th on, half-way through."""
    real = durable_file.write_all
    written = 0

    def write_all(descriptor: int, content: bytes) -> None:
        nonlocal written
        written += 1
        if written >= count:
            os.write(descriptor, content[: len(content) // 2])
            raise OSError(number, os.strerror(number))
        real(descriptor, content)

    for module in (durable_file, local_store, lock):
        monkeypatch.setattr(module, "write_all", write_all)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 11, 23, 40])
def test_a_disk_that_is_full_in_the_middle_of_an_apply(
    deploy: Deploy, application: Path, world: World, count: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        failing_after(patch, count, errno.ENOSPC)
        shown = deploy("apply", application, *YES, expect=1)
    assert "No space left on device" in shown
    assert "Free some space" in shown
    check_goes_on(deploy, application, world)


def test_a_disk_that_is_full_at_the_end_of_a_destroy(deploy: Deploy, application: Path, world: World) -> None:
    deploy("apply", application, *YES)
    with pytest.MonkeyPatch.context() as patch:
        failing_after(patch, 8, errno.EDQUOT)
        assert "quota" in deploy("destroy", NAME, "--auto-approve", expect=1)
    deploy("destroy", NAME, "--auto-approve")
    assert world.things == {}


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written(deploy: Deploy, application: Path, world: World, number: int) -> None:
    deploy("apply", application, *YES)
    change(application, "totalNodes: 3", "totalNodes: 4")
    things, before = dict(world.things), state()
    with pytest.MonkeyPatch.context() as patch:
        failing_after(patch, 2, number)  # the first is the lock's own file
        shown = deploy("apply", application, *YES, expect=1)
        assert "DEPLOY_HOME" in shown
        assert "No drift" in deploy("status", NAME, "--drift"), "to look needs no writing"
    assert (dict(world.things), state()) == (things, before), "what could not be written down has not begun"
    check_goes_on(deploy, application, world)


def test_a_power_cut_anywhere_in_the_last_line(deploy: Deploy, application: Path, world: World) -> None:
    """The last line of a run that was killed, of which the disk kept any number of bytes."""
    deploy("apply", application, *YES)
    # The end of the run compacted: make a line again, as a run that goes on does.
    session = session_module.DeploymentSession(LocalStateStore(state_folder(NAME)), NAME)
    record = session.state.instances["layer1-rasppi-oscar"]
    session.record(record)
    journal = state_folder(NAME) / "journal.jsonl"
    whole = journal.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for cut in (*range(start, len(whole), max(1, (len(whole) - start) // 12)), len(whole) - 1):
        journal.write_bytes(whole[:cut])
        shown = deploy("status", NAME)
        assert ("written only half" in shown) is (cut > start)
    check_goes_on(deploy, application, world)


def test_a_snapshot_cut_anywhere_is_rebuilt(deploy: Deploy, application: Path, world: World) -> None:
    deploy("apply", application, *YES)
    change(application, "totalNodes: 3", "totalNodes: 4")
    deploy("apply", application, *YES)
    snapshot, expected = state_folder(NAME) / "snapshot.json", state()
    whole = snapshot.read_bytes()
    for cut in range(0, len(whole) - 1, len(whole) // 12):
        snapshot.write_bytes(whole[:cut])
        shown = deploy("status", NAME)
        assert "rebuilt" in shown
        assert state() == expected
    check_goes_on(deploy, application, world)
    change(application, "totalNodes: 4", "totalNodes: 3")
    deploy("apply", application, *YES)
    assert "Warning" not in deploy("status", NAME)


def test_a_rename_that_the_disk_lost(deploy: Deploy, application: Path, world: World) -> None:
    """The journal of the last compaction with the snapshot of the one before it."""
    deploy("apply", application, *YES)
    older = (state_folder(NAME) / "snapshot.json").read_bytes()
    change(application, "totalNodes: 3", "totalNodes: 4")
    deploy("apply", application, *YES)
    expected = state()
    (state_folder(NAME) / "snapshot.json").write_bytes(older)
    assert "is older than journal.jsonl" in deploy("status", NAME)
    assert state() == expected
    check_goes_on(deploy, application, world)


def test_a_file_system_without_locks(deploy: Deploy, application: Path, world: World) -> None:
    real = fcntl.flock

    def no_lock(file: object, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        real(file, operation)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", no_lock)
        shown = deploy("apply", application, *YES, expect=1)
    assert "The file system cannot lock files." in shown
    assert "local disk" in shown
    assert world.things == {}
    check_goes_on(deploy, application, world)


def test_a_clock_that_is_set_back(deploy: Deploy, application: Path, world: World) -> None:
    """Runs keep their order, versions their numbers, and the newest state counts."""
    deploy("apply", application, *YES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders.make_run_folder, "__defaults__", (lambda: datetime(2001, 1, 1, tzinfo=UTC),))
        change(application, "totalNodes: 3", "totalNodes: 4")
        deploy("apply", application, *YES)
    assert len(world.addresses("Machine")) == 6
    runs = sorted(path.name for path in (state_folder(NAME).parent / "runs").iterdir())
    assert [v.run for v in state().versions] == runs
    assert not runs[1].startswith("2001")


def test_a_folder_that_was_copied_goes_on_where_it_stood(deploy: Deploy, application: Path, world: World) -> None:
    deploy("apply", application, *YES)
    home = state_folder(NAME).parent
    shutil.copytree(home, home.with_name("copy"))
    shutil.rmtree(home)
    home.with_name("copy").rename(home)
    check_goes_on(deploy, application, world)
