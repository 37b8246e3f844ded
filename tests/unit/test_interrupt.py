"""Ctrl-C once and twice, also while the main thread is busy with something that no signal interrupts."""

from __future__ import annotations

import signal
import subprocess
import sys

BUSY = """
import hashlib, sys, threading
from orchestrator.cli.console import Console
from orchestrator.cli.interrupt import interruptible
with interruptible(Console([])) as cancel:
    threading.Timer(0.3, lambda: print("ready", flush=True)).start()
    if sys.argv[1] == "busy":
        # One long call into C that lets other threads run and that no signal interrupts.
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 300_000_000)
    cancel.wait(30)
    print("cancelled", flush=True)
"""


def start(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_once_sets_the_event_and_the_work_goes_on() -> None:
    process = start("waiting")
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, "cancelled\n")
    assert "Press Ctrl-C again" in stderr


def test_twice_ends_the_process_whatever_the_main_thread_does() -> None:
    process = start("busy")
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert "Press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, "")
    assert "Stopped now" in stderr
