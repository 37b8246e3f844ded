"""Ending child processes together with what they started."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.executors import children

POLITE = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def started(program: str) -> subprocess.Popen[bytes]:
    return children.start(lambda: subprocess.Popen([sys.executable, "-c", program], start_new_session=True))


@pytest.mark.parametrize(("program", "ended_by"), [(POLITE, -15), (STUBBORN, -9)])
def test_a_group_is_asked_first_and_forced_then(program: str, ended_by: int, tmp_path: Path) -> None:
    up = tmp_path / "up"
    child = started(f"{program}open({str(up)!r}, 'w').close(); time.sleep(60)")
    while not up.exists():
        time.sleep(0.01)
    begin = time.monotonic()
    children.kill_all(grace=0.5)
    assert child.wait(5) == ended_by
    assert time.monotonic() - begin < 4
    children.unregister(child)
    children.kill_all()


def test_a_child_that_has_ended_is_no_error() -> None:
    child = started("")
    child.wait(20)
    children.kill_all(grace=0.1)
    children.unregister(child)
    children.unregister(child)


def test_after_the_end_no_child_is_started_any_more() -> None:
    """In a process of its own: the door stays closed."""
    program = (
        "import subprocess, sys, threading, time; from orchestrator.executors import children\n"
        "children.close(grace=0.1)\n"
        "late = lambda: children.start(lambda: print('started', flush=True))\n"
        "threading.Thread(target=late, daemon=True).start()\n"
        "time.sleep(0.5)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
