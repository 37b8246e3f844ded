"""The session: durable before it returns, safe among threads, unchanged when a write fails, good after any kill."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StateError
from orchestrator.state import durable_file
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Pending
from orchestrator.state.session import DeploymentSession

KILLS = 5


def open_session(folder: Path) -> DeploymentSession:
    return DeploymentSession(LocalStateStore(folder, reread_pause=0), "demo")


def instance(number: int, size: int = 0) -> InstanceRecord:
    pending = Pending("create", "t" * 32, "run")
    return InstanceRecord(f"edge[{number}]", "edge", "T", pending=pending, attributes={"filling": "x" * size})


def test_a_deployment_that_was_only_looked_at_leaves_no_trace(tmp_path: Path) -> None:
    session = open_session(tmp_path / "state")
    assert session.is_new
    assert session.state.serial == 0
    session.remove("edge[0]")
    session.snapshot()
    assert list(tmp_path.iterdir()) == []


def test_the_lineage_is_known_before_the_first_step_and_stays(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    lineage = session.state.lineage
    assert len(lineage) == 32
    session.record(instance(0))
    again = open_session(tmp_path)
    assert again.state.lineage == lineage
    assert not again.is_new


def test_what_was_recorded_is_not_altered_through_the_callers_dict(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    attributes: dict[str, object] = {"host": "10.0.0.1"}
    session.record(InstanceRecord("a", "a", "T", attributes=attributes))  # type: ignore[arg-type]
    attributes["host"] = "elsewhere"
    assert session.state.instances["a"].attributes == {"host": "10.0.0.1"}


def test_a_state_once_given_out_does_not_change(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    session.record(instance(0))
    before = session.state
    session.record(instance(1))
    assert set(before.instances) == {"edge[0]"}


def test_threads_do_not_get_in_one_anothers_way(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 10):
                session.record(instance(number))
            session.snapshot()
            session.remove(f"edge[{first}]")
        except BaseException as cause:  # noqa: BLE001 - handed to the test, which fails on it
            failures.append(cause)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    state = open_session(tmp_path).state
    assert state == session.state
    assert state.serial == 1 + 8 * 11
    assert len(state.instances) == 72


def test_the_session_passes_warnings_on(tmp_path: Path) -> None:
    open_session(tmp_path).record(instance(0))
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b"{")
    assert "written only half" in open_session(tmp_path).warnings[0]


WRITER = """
import sys
from pathlib import Path
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord
from orchestrator.state.session import DeploymentSession

session = DeploymentSession(LocalStateStore(Path(sys.argv[1])), "demo")
number = max((int(a[5:-1]) for a in session.state.instances), default=-1)
while True:
    number += 1
    session.record(InstanceRecord(f"edge[{number}]", "edge", "T", attributes={"filling": "x" * 3000}))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    if number % 7 == 6:
        session.snapshot()
"""


def test_nothing_that_was_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    for kill in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(10 + kill * 3)]
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
            writer.wait(10)
        state = open_session(folder).state
        found = [int(address[5:-1]) for address in state.instances]
        assert found == list(range(len(found))), "in order, none missing, none twice"
        assert acknowledged[-1] <= found[-1] <= acknowledged[-1] + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False, timeout=20
    )
    if mounting.returncode:
        pytest.skip(f"mounting a small file system is refused here: {mounting.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=20)


def test_a_full_disk_loses_nothing_and_says_so(small_disk: Path) -> None:
    folder = small_disk / "state"
    session = open_session(folder)
    session.record(instance(0))

    def fill() -> None:
        for number in range(1, 1000):
            session.record(instance(number, size=3000))

    with pytest.raises(StateError) as caught:
        fill()
    assert "No space left on device" in caught.value.detail
    assert str(folder / "journal.jsonl") in caught.value.detail
    assert "Free some space" in caught.value.resolution
    known = session.state
    assert known.instances
    assert open_session(folder).state == known
    assert open_session(folder).warnings == (), "no half line is left behind"
    with pytest.raises(StateError, match="No space left"):
        session.snapshot()
    assert open_session(folder).state == known
    assert not list(folder.glob(".*.tmp"))


def test_a_limit_on_file_sizes_loses_nothing(tmp_path: Path) -> None:
    session = open_session(tmp_path)
    session.record(instance(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "journal.jsonl").stat().st_size + 100, before[1]))
    try:
        with pytest.raises(StateError, match="File too large"):
            session.record(instance(1, size=2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert set(session.state.instances) == {"edge[0]"}
    assert open_session(tmp_path).warnings == ()
    session.record(instance(2))
    assert open_session(tmp_path).state == session.state
    assert set(session.state.instances) == {"edge[0]", "edge[2]"}


def test_a_half_written_step_that_cannot_be_taken_back_at_once_is_taken_back_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(tmp_path)
    session.record(instance(0))
    before = session.state

    def no_more(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", no_more)
    monkeypatch.setattr(os, "ftruncate", no_more)
    with pytest.raises(StateError, match="Input/output error") as caught:
        session.record(instance(1))
    assert "dmesg" in caught.value.resolution
    assert session.state == before
    monkeypatch.undo()
    session.record(instance(2))
    assert set(open_session(tmp_path).state.instances) == {"edge[0]", "edge[2]"}


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A state on a file system that is mounted read-only."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system read-only needs root")
    place = tmp_path / "demo"
    open_session(place / "state").record(instance(0))
    for command in (["mount", "--bind", place, place], ["mount", "-o", "remount,ro,bind", place]):
        mounting = subprocess.run(command, capture_output=True, check=False, timeout=20)
        if mounting.returncode:
            subprocess.run(["umount", place], capture_output=True, check=False, timeout=20)
            pytest.skip(f"mounting is refused here: {mounting.stderr.decode().strip()}")
    yield place / "state"
    subprocess.run(["umount", str(place)], check=True, timeout=20)


def test_a_read_only_folder_can_be_read_and_says_that_it_cannot_be_written(read_only: Path) -> None:
    session = open_session(read_only)
    before = session.state
    assert set(before.instances) == {"edge[0]"}
    for write in (lambda: session.record(instance(1)), session.snapshot, session.delete):
        with pytest.raises(StateError, match="Read-only file system") as caught:
            write()
        assert str(read_only) in caught.value.detail
        assert "DEPLOY_HOME" in caught.value.resolution
    assert session.state == before
    assert open_session(read_only).state == before


AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from orchestrator.errors import StateError
from orchestrator.state.local_store import LocalStateStore

os.setgid(65534)
os.setuid(65534)
try:
    LocalStateStore(Path(sys.argv[1])).load()
except StateError as error:
    sys.exit(str(error))
"""


def test_a_state_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    open_session(tmp_path / "state").record(instance(0))
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    (tmp_path / "state").chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY_ELSE, str(tmp_path / "state")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "The state cannot be read." in done.stderr
    assert "Permission denied" in done.stderr


def test_errors_without_a_number_are_told_in_their_own_words() -> None:
    error = durable_file.storage_error("write", Path("/x"), OSError("odd"))
    assert "odd" in error.detail
    assert error.resolution
