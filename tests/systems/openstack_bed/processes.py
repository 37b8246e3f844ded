"""Servers as processes of their own, ended by their ids, also when the tests are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LAST_LINES = 40


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def listens(port: int) -> bool:
    """Whether something on loopback takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


class Processes:
    """What was started, by name.

    Args:
        folder: Where their output goes.
        environment: What all of them find, and nothing else.
        temporary: What is removed if the tests are killed.
    """

    def __init__(self, folder: Path, environment: dict[str, str], temporary: Path) -> None:
        self.folder = folder
        self.environment = environment
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # In a session of its own, so that Ctrl-C and a signal to the group of the tests leave it alone.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", Path(__file__).with_name("watch.py"), temporary],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def start(self, name: str, command: Iterable[str | Path] = (), environment: dict[str, str] | None = None) -> None:
        """Start a process; without a command, the one that had that name before."""
        if command:
            self._commands[name] = ([str(word) for word in command], environment or {})
        words, settings = self._commands[name]
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**self.environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[name] = process
        self._tell(f"+{process.pid}")

    def run(self, name: str, command: Iterable[str | Path], environment: dict[str, str] | None = None) -> None:
        """Start a process and wait until it has done its work."""
        self.start(name, command, environment)
        self.wait(name)

    def wait(self, name: str) -> None:
        """Wait until a process has done its work."""
        process = self._running.pop(name)
        try:
            assert process.wait(START_TIMEOUT) == 0, self.complaint(name)
        finally:
            self._end(process)

    def stop(self, *names: str) -> None:
        """End processes, all at once, and wait until they are gone."""
        ending = [self._running.pop(name) for name in names if name in self._running]
        for process in ending:
            process.terminate()
        for process in ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            self._end(process)

    def close(self) -> None:
        """End all of them at once; what they wrote is of no use to anyone any longer."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for name in list(self._running):
            self._end(self._running.pop(name))
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait(STOP_TIMEOUT)

    def until(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a process is ready; it is an error if it ends before."""
        ends = time.monotonic() + START_TIMEOUT
        while time.monotonic() < ends and self._running[name].poll() is None:
            if ready():
                return
            time.sleep(0.05)
        raise AssertionError(self.complaint(name))

    def complaint(self, name: str) -> str:
        """What to say when a process fails: its last words."""
        lines = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"{name} did not start, or failed:", *lines[-LAST_LINES:]])

    def log(self, name: str) -> Path:
        """Where its output goes."""
        return self.folder / f"{name}.log"

    def ids(self) -> dict[str, int]:
        """Number of each process that was started and not stopped."""
        return {name: process.pid for name, process in self._running.items()}

    def memory(self, name: str) -> int:
        """MiB of a process and of those it started, pages that are shared counted in parts."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if status.read_text(encoding="utf-8").rpartition(")")[2].split()[3] == str(self._running[name].pid):
                    rollup = (status.parent / "smaps_rollup").read_text(encoding="utf-8")
                    total += int(rollup.partition("\nPss:")[2].split()[0])
        return total // 1024

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Leave nothing of its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT)
        self._tell(f"-{process.pid}")

    def _tell(self, line: str) -> None:
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(f"{line}\n".encode())
        self._watcher.stdin.flush()
