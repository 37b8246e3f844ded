"""A play that outlives the run that started it keeps the deployment locked, until it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import LockedError
from orchestrator.services.deployment import open_for_working

PLAY = """\
- name: Something that takes its time
  hosts: server
  gather_facts: false
  tasks:
    - name: Wait until the test says go on
      ansible.builtin.wait_for:
        path: "{{ gate }}"
        timeout: 60
"""

RUN = """\
import sys, threading
from pathlib import Path
from types import SimpleNamespace
from orchestrator.executors.play import run_play
from orchestrator.services.deployment import open_for_working

folder = Path(sys.argv[1])
with open_for_working("demo", "deploy apply production.yaml", threading.Event()) as opened:
    request = SimpleNamespace(
        lock_fds=opened.lock_fds, secrets=opened.secrets, progress=lambda line: print(line, flush=True)
    )
    run_play(request, {
        "playbook": str(folder / "play.yml"),
        "config_file": "",
        "inventory": "server: {hosts: {localhost: {ansible_connection: local}}}",
        "logins": {},
        "private_key": "",
        "variables": {"gate": str(folder / "gate"), "ansible_python_interpreter": sys.executable},
        "secrets": [],
        "log_file": str(folder / "play.log"),
        "timeout": 90,
        "silence": 90,
    })
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A run that is in the middle of a play."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    (tmp_path / "play.yml").write_text(PLAY)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "Wait until the test says go on\n"
        yield process
    finally:
        (tmp_path / "gate").touch()
        process.kill()
        process.communicate(timeout=10)


def holders(refusal: LockedError) -> list[int]:
    words = refusal.detail.replace(",", " ").replace(".", " ").split()
    return [int(w) for w in words if w.isdigit() and Path(f"/proc/{w}").exists()]


def acquire() -> None:
    from threading import Event

    with open_for_working("demo", "deploy apply production.yaml", Event()):
        pass


def test_a_second_apply_is_refused_while_an_orphaned_play_lives(run: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(LockedError) as alive:
        acquire()
    assert str(run.pid) in alive.value.detail
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)
    with pytest.raises(LockedError) as orphaned:
        acquire()
    left = holders(orphaned.value)
    assert left, orphaned.value.detail
    assert all(os.getsid(number) != os.getsid(0) for number in left), "plays lead sessions of their own"
    (tmp_path / "gate").touch()
    for _ in range(400):
        try:
            acquire()
            break
        except LockedError:
            time.sleep(0.05)
    else:
        pytest.fail("the lock is not free though the play has ended")
    assert "PLAY RECAP" in (tmp_path / "play.log").read_text(), "the play went on to its end"
