"""Child processes that run operations, so that a second Ctrl-C can end them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

_running: dict[int, subprocess.Popen[bytes]] = {}
# A plain mapping without a lock: kill_all runs inside a signal handler, which may interrupt a holder of any lock.


def register(child: subprocess.Popen[bytes]) -> None:
    """Note a child that leads a process group of its own."""
    _running[child.pid] = child


def unregister(child: subprocess.Popen[bytes]) -> None:
    """Forget a child that has ended."""
    _running.pop(child.pid, None)


def kill_all(grace: float = 3.0) -> None:
    """End every registered child with its group: asked first, so that it can remove its secrets, then forced.

    Args:
        grace: Seconds between asking and forcing.
    """
    children = list(_running.values())
    for child in children:
        kill_group(child, signal.SIGTERM)
    end = time.monotonic() + grace
    while time.monotonic() < end and any(_alive(child) for child in children):
        time.sleep(0.05)
    for child in children:
        kill_group(child, signal.SIGKILL)


def kill_group(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a child's process group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _alive(child: subprocess.Popen[bytes]) -> bool:
    # Without reaping: the thread that started the child waits for it and must find its exit code.
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
