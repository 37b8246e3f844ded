"""Ends processes when whoever started them is gone; run with a pipe as its input: watch.py FOLDER.

It reads lines ``+PROCESS`` and ``-PROCESS``, each the leader of a session. The pipe ends when the one that writes it
ends, however that comes about. What is still listed then is ended, and the folder is removed; if nothing is, nothing is
to be done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

GRACE = 10.0


def started(process: int) -> str:
    """When the process began, which tells it from a later one of the same number; empty if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def end(process: int, how: signal.Signals) -> None:
    """Send a signal to the whole session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, how)


def main() -> None:
    """Watch until the pipe ends."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    watched: dict[int, str] = {}
    for line in sys.stdin:
        process = int(line[1:])
        if line.startswith("+"):
            watched[process] = started(process)
        else:
            watched.pop(process, None)
    left = [process for process, since in watched.items() if since and started(process) == since]
    for process in left:
        end(process, signal.SIGTERM)
    ends = time.monotonic() + GRACE
    while any(started(process) for process in left) and time.monotonic() < ends:
        time.sleep(0.1)
    for process in left:
        end(process, signal.SIGKILL)
    if left:
        shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
