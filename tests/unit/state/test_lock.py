"""The lock among real processes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import LockedError, StateError
from orchestrator.state.lock import DeploymentLock, lock_holding_processes, read_holder

HOLDER = """
import subprocess, sys
from pathlib import Path
from orchestrator.state.lock import DeploymentLock

lock = DeploymentLock(Path(sys.argv[1])).acquire("deploy apply production.yaml", run="r1")
child = 0
quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
if "child" in sys.argv:
    child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fd], start_new_session=True, **quiet).pid
if "stranger" in sys.argv:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True, **quiet).pid
print(child, flush=True)
if "release" in sys.argv:
    lock.release()
    print("released", flush=True)
sys.stdin.readline()
"""

Start = Callable[..., tuple["subprocess.Popen[str]", int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that takes the lock; gives it and the number of the child it started."""
    started: list[subprocess.Popen[str]] = []
    children: list[int] = []

    def run(*words: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "demo"), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        if child:
            children.append(child)
        if "release" in words:
            assert process.stdout.readline() == "released\n"
        return process, child

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=10)
    for child in children:
        end(child)


def end(pid: int) -> None:
    """End a process that is no child of ours, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} does not end")


def refusal(folder: Path) -> LockedError:
    with pytest.raises(LockedError) as caught:
        DeploymentLock(folder).acquire("deploy destroy")
    return caught.value


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path, start: Start) -> None:
    holder, _ = start()
    error = refusal(tmp_path / "demo")
    assert error.summary == "The deployment is in use."
    assert f"demo is being worked on by process {holder.pid} of " in error.detail
    assert "`deploy apply production.yaml`" in error.detail
    assert re.search(r"since \d{4}-\d\d-\d\dT[\d:.]+Z, run r1\.", error.detail)
    assert f"kill -INT {holder.pid}" in error.resolution


def test_it_is_free_after_the_holder_was_killed(tmp_path: Path, start: Start) -> None:
    holder, _ = start()
    holder.kill()
    holder.wait(10)
    with DeploymentLock(tmp_path / "demo").acquire("deploy destroy") as lock:
        named = read_holder(tmp_path / "demo" / "lock")
        assert named is not None
        assert (named.pid, named.command, named.released) == (os.getpid(), "deploy destroy", "")
        assert lock_holding_processes(tmp_path / "demo" / "lock").keys() == {os.getpid()}
    assert lock.fd == -1


def test_a_child_that_inherited_it_holds_it_when_the_parent_is_killed(tmp_path: Path, start: Start) -> None:
    holder, child = start("child")
    assert f"process {holder.pid} of" in refusal(tmp_path / "demo").detail
    holder.kill()
    holder.wait(10)
    error = refusal(tmp_path / "demo")
    assert f"Process {holder.pid} of " in error.detail
    assert "is gone" in error.detail
    assert f"still running: {child} (sleep)" in error.detail
    assert f"`kill {child}`" in error.resolution
    end(child)
    DeploymentLock(tmp_path / "demo").acquire("deploy apply").release()


def test_a_child_that_inherited_it_holds_it_after_an_orderly_release(tmp_path: Path, start: Start) -> None:
    holder, child = start("child", "release")
    assert holder.poll() is None
    error = refusal(tmp_path / "demo")
    assert "ended its run at" in error.detail
    assert f"still running: {child} (sleep)" in error.detail
    end(child)
    DeploymentLock(tmp_path / "demo").acquire("deploy apply").release()


def test_a_child_that_was_not_given_it_does_not_hold_it(tmp_path: Path, start: Start) -> None:
    holder, _ = start("stranger")
    holder.kill()
    holder.wait(10)
    DeploymentLock(tmp_path / "demo").acquire("deploy apply").release()


def test_one_process_does_not_get_it_twice(tmp_path: Path) -> None:
    with DeploymentLock(tmp_path).acquire("deploy apply") as lock:
        assert os.get_inheritable(lock.fd)
        assert f"process {os.getpid()}" in refusal(tmp_path).detail
        with pytest.raises(RuntimeError, match="already"):
            lock.acquire("again")
    lock.release()
    lock.acquire("deploy apply").release()


def test_a_process_number_used_again_is_not_taken_for_the_holder(tmp_path: Path, start: Start) -> None:
    holder, child = start("child")
    holder.kill()
    holder.wait(10)
    path = tmp_path / "demo" / "lock"
    particulars = json.loads(path.read_text())
    path.write_text(json.dumps(particulars | {"pid": os.getpid()}))
    assert "is gone" in refusal(tmp_path / "demo").detail
    assert child


def test_a_holder_on_another_host_is_named_with_it(tmp_path: Path) -> None:
    with DeploymentLock(tmp_path).acquire("deploy apply"):
        path = tmp_path / "lock"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere", "pid": 4}))
        error = refusal(tmp_path)
    assert "process 4 of" in error.detail
    assert "on elsewhere" in error.detail
    assert "`kill -INT 4` on elsewhere" in error.resolution


def test_a_holder_that_said_nothing(tmp_path: Path) -> None:
    with DeploymentLock(tmp_path).acquire("deploy apply"):
        (tmp_path / "lock").write_text("not JSON")
        error = refusal(tmp_path)
    assert "did not say who" in error.detail
    assert str(os.getpid()) in error.detail


def test_a_lock_file_removed_with_its_folder_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    real = fcntl.flock
    removed: list[bool] = []

    def removing(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        if not removed:
            removed.append(True)
            path.unlink()

    monkeypatch.setattr(fcntl, "flock", removing)
    with DeploymentLock(tmp_path).acquire("deploy apply") as lock:
        assert os.fstat(lock.fd).st_ino == path.stat().st_ino


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refusing(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refusing)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StateError) as caught:
        DeploymentLock(tmp_path).acquire("deploy apply")
    assert os.strerror(number) in caught.value.detail
    assert str(tmp_path / "lock") in caught.value.detail
    assert ("DEPLOY_HOME" in caught.value.resolution) is (number != errno.EIO)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="Could not make the folder"):
        DeploymentLock(tmp_path / "file" / "demo").acquire("deploy apply")
