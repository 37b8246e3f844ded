"""Child processes that run operations, so that a second Ctrl-C can end them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from threading import Lock

_START_LIMIT = 5.0
"""Seconds to wait for a child that is being started this moment."""

_running: dict[int, subprocess.Popen[bytes]] = {}
_gate = Lock()
"""Held while a child is started and noted: one that runs unnoted could not be ended."""


def start(popen: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a child that leads a process group of its own, and note it.

    Args:
        popen: Starts it.
    """
    with _gate:
        child = popen()
        _running[child.pid] = child
    return child


def unregister(child: subprocess.Popen[bytes]) -> None:
    """Forget a child that has ended."""
    _running.pop(child.pid, None)


def kill_all(grace: float = 3.0) -> None:
    """End every child with its group: asked first, so that it can remove its secrets, then forced.

    Takes a lock for a moment, so it must not be called from a signal handler.

    Args:
        grace: Seconds between asking and forcing.
    """
    with _gate:
        children = list(_running.values())
    _end(children, grace)


def close(grace: float = 3.0) -> None:
    """End every child and let none be started any more: for a process that ends itself right after."""
    _gate.acquire(timeout=_START_LIMIT)
    _end(list(_running.values()), grace)


def _end(children: Sequence[subprocess.Popen[bytes]], grace: float) -> None:
    for child in children:
        kill_group(child, signal.SIGTERM)
    end = time.monotonic() + grace
    while time.monotonic() < end and any(_alive(child) for child in children):
        time.sleep(0.05)
    for child in children:
        kill_group(child, signal.SIGKILL)


def end(child: subprocess.Popen[bytes], grace: float) -> None:
    """End one child with its group: asked first, forced after ``grace`` seconds."""
    _end([child], grace)


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
