"""Starting and stopping an engine of our own, with small programs in its place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.clients import engine_daemon
from orchestrator.clients.engine_daemon import OwnEngine
from orchestrator.errors import EngineUnavailableError

LISTENER = """#!{python}
import os, signal, socket, sys, time
options = dict(a[2:].split("=", 1) for a in sys.argv[1:])
with open(options["data-root"] + ".started", "a") as file:
    file.write("x")
with open(options["pidfile"], "w") as file:
    file.write(str(os.getpid()))
time.sleep(0.3)
listener = socket.socket(socket.AF_UNIX)
listener.bind(options["host"].removeprefix("unix://"))
signal.pause()
"""


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Put a program in the engine's place."""
    program = folder / "dockerd"
    program.write_text(text.replace("{python}", sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(engine_daemon, "engine_program", lambda: program)


@pytest.fixture
def own(tmp_path: Path) -> OwnEngine:
    return OwnEngine(tmp_path / "own", tmp_path / "runtime")


def test_an_engine_that_dies_at_start_shows_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: OwnEngine
) -> None:
    install(monkeypatch, tmp_path, "#!/bin/sh\necho 'failed to mount overlay: operation not permitted' >&2\nexit 3\n")
    with pytest.raises(EngineUnavailableError) as caught:
        own.start(own.socket.exists)
    assert "status 3" in caught.value.detail
    assert "failed to mount overlay" in caught.value.detail


def test_an_engine_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: OwnEngine) -> None:
    install(monkeypatch, tmp_path, "#!/bin/sh\necho waiting\nexec sleep 60\n")
    monkeypatch.setattr(engine_daemon, "START_TIMEOUT", 0.3)
    with pytest.raises(EngineUnavailableError, match="did not start") as caught:
        own.start(lambda: False)
    assert "did not answer" in caught.value.detail


def test_two_that_start_at_once_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: OwnEngine) -> None:
    install(monkeypatch, tmp_path, LISTENER)
    threads = [
        threading.Thread(target=OwnEngine(tmp_path / "own", tmp_path / "runtime").start, args=[own.socket.exists])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    try:
        assert (tmp_path / "own" / "data.started").read_text(encoding="ascii") == "x"
        pid = own.pid()
        assert pid is not None
        assert os.getsid(pid) == pid
    finally:
        assert own.stop()
    assert own.pid() is None
    assert not own.stop()


def test_what_a_killed_engine_left_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: OwnEngine
) -> None:
    install(monkeypatch, tmp_path, LISTENER)
    own.start(own.socket.exists)
    pid = own.pid()
    assert pid is not None
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert own.pid() is None
    alive = iter([False])
    own.start(lambda: next(alive, True) and own.socket.exists())
    assert own.stop()


def test_a_process_that_is_not_ours_is_never_stopped(tmp_path: Path, own: OwnEngine) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with subprocess.Popen(["sleep", "30"]) as other:
        (runtime / "engine.pid").write_text(str(other.pid), encoding="ascii")
        assert own.pid() is None
        assert not own.stop()
        assert other.poll() is None
        other.kill()


def test_the_engine_gets_no_secrets_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for others")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    environment = engine_daemon._environment()
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_the_program_is_found_outside_of_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dockerd").touch(mode=0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engine_daemon, "_PROGRAM_FOLDERS", (str(tmp_path),))
    assert engine_daemon.engine_program() == tmp_path / "dockerd"
    monkeypatch.setattr(engine_daemon, "_PROGRAM_FOLDERS", ())
    assert engine_daemon.engine_program() is None
