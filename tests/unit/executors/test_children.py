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


@pytest.mark.parametrize(("program", "ended_by"), [(POLITE, -15), (STUBBORN, -9)])
def test_a_group_is_asked_first_and_forced_then(program: str, ended_by: int, tmp_path: Path) -> None:
    up = tmp_path / "up"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{program}open({str(up)!r}, 'w').close(); time.sleep(60)"], start_new_session=True
    )
    children.register(child)
    while not up.exists():
        time.sleep(0.01)
    started = time.monotonic()
    children.kill_all(grace=0.5)
    assert child.wait(5) == ended_by
    assert time.monotonic() - started < 4
    children.unregister(child)
    children.kill_all()


def test_a_child_that_has_ended_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    children.register(child)
    child.wait(20)
    children.kill_all(grace=0.1)
    children.unregister(child)
    children.unregister(child)
