"""A container engine of our own: started when no other answers, on a socket and data folder that are ours alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import EngineUnavailableError

START_TIMEOUT = 60.0
"""Seconds that our engine may take to answer after its start."""

STOP_TIMEOUT = 40.0
"""Seconds that our engine may take to stop its containers and end."""

KILL_TIMEOUT = 10.0
"""Seconds that our engine may take to be gone after it was killed; longer only where the kernel holds on to it."""

HELPER_TIMEOUT = 5.0
"""Seconds that the helper of a killed engine may take to end."""

_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/sbin", "/bin")
_KEPT_ENVIRONMENT = ("HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
_KEPT_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_NO_FILTER = "--iptables=false"


def engine_program() -> Path | None:
    """The engine's program if it is installed; its folders are often missing in an ordinary user's PATH."""
    folders = (*os.environ.get("PATH", "").split(os.pathsep), *_PROGRAM_FOLDERS)
    for folder in folders:
        path = Path(folder, "dockerd") if folder else None
        if path is not None and path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def install_hint() -> str:
    """What a person types to get an engine."""
    return "Install one: `sudo apt-get install docker.io` on Debian or Ubuntu (or Docker's own packages), then repeat."


class OwnEngine:
    """The engine that this program starts for itself.

    Args:
        data: Folder that keeps images and containers; on a real disk.
        runtime: Folder of socket, pid file and lock; may vanish at a reboot.
    """

    def __init__(
        self,
        data: Path = Path("/var/lib/continuum-deploy/engine"),
        runtime: Path = Path("/run/continuum-deploy/engine"),
    ) -> None:
        self._data = data
        self._runtime = runtime
        self.socket = runtime / "engine.sock"
        self.address = f"unix://{self.socket}"
        self.log = data / "engine.log"
        self._pid_file = runtime / "engine.pid"

    def start(self, answers: Callable[[], bool]) -> None:
        """Start it unless it runs; of two processes that try at once one starts it and the other waits for that.

        Args:
            answers: Whether the engine answers on its socket now.

        Raises:
            EngineUnavailableError: If it ends at once or does not answer in time; carries the end of its log.
        """
        with self._locked():
            if answers():
                return
            self._forget_dead()
            process = self._launch()
            deadline = time.monotonic() + START_TIMEOUT
            while not answers():
                if process.poll() is not None:
                    raise self._failed(f"`dockerd` ended at once with status {process.returncode}")
                if time.monotonic() > deadline:
                    _end(process)
                    raise self._failed(f"`dockerd` did not answer within {START_TIMEOUT:.0f} s")
                time.sleep(0.1)
            # It outlives this process on purpose; without this, Python warns that a child was forgotten.
            process.returncode = 0

    def stop(self) -> bool:
        """End it, with its containers; anything else is left alone. Returns whether it was running."""
        if not self._runtime.is_dir():
            return False
        with self._locked():
            pid = self.pid()
            if pid is None:
                return False
            os.kill(pid, signal.SIGTERM)
            deadline, killed = time.monotonic() + STOP_TIMEOUT, False
            while self.pid() is not None:
                if time.monotonic() > deadline and killed:
                    raise self._stuck(pid)
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    deadline, killed = time.monotonic() + KILL_TIMEOUT, True
                _reap(pid)
                time.sleep(0.1)
            self._forget_dead()
            self._unmount()
            return True

    def pid(self) -> int | None:
        """Process number if it is alive and really is our engine (numbers are used again after a reboot)."""
        try:
            pid = int(self._pid_file.read_text(encoding="ascii").strip())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if f"--host={self.address}".encode() in arguments else None

    def leaves_packet_filter_alone(self) -> bool:
        """Whether it runs beside another engine, whose packet filter it must not flush."""
        pid = self.pid()
        try:
            return pid is not None and _NO_FILTER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _launch(self) -> subprocess.Popen[bytes]:
        program = engine_program()
        if program is None:
            raise EngineUnavailableError("There is no container engine.", resolution=install_hint())
        command = [
            str(program),
            f"--host={self.address}",
            f"--data-root={self._data / 'data'}",
            f"--exec-root={self._runtime / 'exec'}",
            f"--pidfile={self._pid_file}",
            "--config-file=" + str(self._empty_configuration()),
            # The default bridge is one per machine and may be somebody else's; a deployment has a network of its own.
            "--bridge=none",
        ]
        if _another_engine_runs():
            # A second engine would flush the first one's packet filter chains. Machines then reach each other and this
            # machine, not the world outside.
            command.append(_NO_FILTER)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )

    def _empty_configuration(self) -> Path:
        """An own configuration file: the usual one belongs to the engine of the whole machine."""
        path = self._data / "engine.json"
        path.write_text("{}\n", encoding="ascii")
        return path

    def _forget_dead(self) -> None:
        """Remove what a killed engine left, or the next one refuses to start."""
        if self.pid() is not None:
            return
        self._pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        # The engine's own helper dies with it, but until somebody has collected its exit status its number is still
        # taken, and the next engine would wait in vain for a helper that it believes to be alive.
        helper = self._runtime / "exec" / "containerd" / "containerd.pid"
        deadline = time.monotonic() + HELPER_TIMEOUT
        while helper.is_file() and _alive(helper) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not _alive(helper):
            helper.unlink(missing_ok=True)

    def _unmount(self) -> None:
        """Take away mounts that an engine which was killed at some time left in our folders."""
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        points = [Path(line.split()[4]) for line in lines]
        for point in sorted((p for p in points if p.is_relative_to(self._data)), reverse=True):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["umount", "--lazy", str(point)], check=False, timeout=20, capture_output=True)

    def _stuck(self, pid: int) -> EngineUnavailableError:
        return EngineUnavailableError(
            "The container engine does not end.",
            detail=f"Process {pid} was asked to end, got {STOP_TIMEOUT:.0f} s for it, was killed, and is still there "
            f"{KILL_TIMEOUT:.0f} s later: the kernel waits for something, such as a disk.",
            resolution=f"Look at the end of its log ({self.log}) and of the kernel's, then repeat.",
        )

    def _failed(self, what: str) -> EngineUnavailableError:
        return EngineUnavailableError(
            "The container engine did not start.",
            detail=f"{what}. The end of its log ({self.log}):\n{self.log_tail()}",
            resolution="Start an engine yourself (`sudo systemctl start docker`), then repeat.",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock that keeps two processes from starting or stopping the engine at once."""
        for folder in (self._data, self._runtime):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        deadline = time.monotonic() + START_TIMEOUT + STOP_TIMEOUT
        with (self._runtime / "lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._failed("Another process holds the engine's lock for too long") from None
                    time.sleep(0.1)
            yield


def _alive(pid_file: Path) -> bool:
    """Whether the helper that a pid file names runs; one that has ended and only waits to be collected does not."""
    try:
        pid = int(pid_file.read_text(encoding="ascii").strip())
        name, _, rest = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").partition(") ")
    except (OSError, ValueError):
        return False
    return name.endswith("(containerd") and not rest.startswith("Z")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child that did not come up, gently first."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)


def _reap(pid: int) -> None:
    """Collect the engine's exit status if it is a child of this process; else its process number never goes away."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _another_engine_runs() -> bool:
    """Whether some engine works on this network namespace's packet filter; one that has ended has no command line."""
    own_network = Path("/proc/self/ns/net").stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text(encoding="ascii", errors="replace").strip()
            filters_here = (process / "ns" / "net").stat().st_ino == own_network
            if name == "dockerd" and filters_here and (process / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def _environment() -> dict[str, str]:
    """What the engine needs of our environment, and no more: it outlives us and is shared."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT_ENVIRONMENT or k.lower() in _KEPT_PROXIES}
    return {**kept, "PATH": ":".join(_PROGRAM_FOLDERS)}
