"""The lock that keeps two runs from working on one deployment, held as long as any of its processes lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import LockedError, StateError
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.durable_file import make_folder, storage_error, write_all

_REFUSALS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_MACHINE, _BOOT = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")
_NO_CONTAINER = "4026531836"
"""Number that the kernel gives to the namespace of processes that it begins with."""

_PARTICULARS_LIMIT = 64 * 1024
_PARTICULARS_WAIT = 0.2
"""Seconds to wait for a holder that has the lock and is about to write who it is."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who took the lock.

    Attributes:
        pid: Process.
        started: When the kernel started that process, so that a later process with its number is told apart.
        user: Login name.
        host: Host name.
        command: What it runs, in words.
        since: ISO 8601.
        run: The run's identifier; empty if it has none.
        released: When the process gave the lock back; empty while it holds it.
        machine: Tells hosts of one name apart; empty if the system does not say.
        boot: Tells one boot of a host from the next.
        namespace: Tells containers on one host apart, whose process numbers mean different processes.
        file: Path of the lock file that the process holds on its own host.
        token: Random, new each time; empty where only the kernel's lock counts.
    """

    pid: int
    started: str
    user: str
    host: str
    command: str
    since: str
    run: str = ""
    released: str = ""
    machine: str = ""
    boot: str = ""
    namespace: str = ""
    file: str = ""
    token: str = ""


class DeploymentLock:
    """An advisory lock on ``.deploy/<name>/lock``; a context manager that releases.

    Child processes that inherit ``fd`` hold the lock too: it is free once the last of them has ended, however the
    process that took it went.

    Args:
        folder: The deployment's folder; made if it is missing.
        clock: For the stamp in the file.
    """

    def __init__(self, folder: Path, *, clock: Clock = utc_now) -> None:
        self._path = folder / "lock"
        self._clock = clock
        self._fd = -1
        self._holder: LockHolder | None = None

    @property
    def fd(self) -> int:
        """Descriptor for child processes to inherit (``pass_fds``); -1 while the lock is not held."""
        return self._fd

    @property
    def path(self) -> Path:
        """The lock file."""
        return self._path

    @property
    def holder(self) -> LockHolder:
        """What it says of us; only while the lock is held."""
        if self._holder is None:
            raise RuntimeError("the lock is not held by this object")
        return self._holder

    def acquire(self, command: str, *, run: str = "") -> Self:
        """Take the lock without waiting.

        Args:
            command: What it is for, shown to whoever is refused; never holds a secret.
            run: The run's identifier.

        Raises:
            LockedError: If somebody holds it; says who, since when, and what to do.
            StateError: If the file cannot be made or its file system has no locks.
        """
        if self._fd >= 0:
            raise RuntimeError("the lock is held by this object already")
        make_folder(self._path.parent)
        descriptor = self._lock_file()
        os.set_inheritable(descriptor, True)
        self._fd = descriptor
        self._holder = _this_process(self._path, command, render_time(self._clock()), run)
        try:
            self._write_particulars(self._holder)
        except OSError as cause:
            self.release()
            raise storage_error("write", self._path, cause) from cause
        return self

    def has_children(self) -> bool:
        """Whether other processes hold the lock together with this one, which only those can that inherited it."""
        return bool(lock_holding_processes(self._path).keys() - {os.getpid()})

    def read_holder(self) -> LockHolder | None:
        """Who holds the lock now, as far as can be seen without touching it; ``None`` if nobody does."""
        return read_holder(self._path) if lock_holding_processes(self._path) else None

    def release(self) -> None:
        """Give the lock back. It stays taken while a child process that inherited it lives."""
        if self._fd < 0:
            return
        if self._holder is not None:
            with contextlib.suppress(OSError):
                released = asdict(self._holder) | {"released": render_time(self._clock())}
                self._write_particulars(LockHolder(**released))
        # Only closed, never unlocked: unlocking would take it away from the children as well.
        os.close(self._fd)
        self._fd = -1
        self._holder = None

    def __enter__(self) -> Self:
        """The lock; ``acquire`` comes before."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release."""
        self.release()

    def _lock_file(self) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as cause:
                raise storage_error("write", self._path, cause) from cause
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still_at(descriptor, self._path):
                    return descriptor
            except BlockingIOError as cause:
                os.close(descriptor)
                raise self._refusal() from cause
            except OSError as cause:
                os.close(descriptor)
                raise self._no_lock(cause) from cause
            # Whoever held it removed the file together with its folder; what was locked is a file without a name.
            os.close(descriptor)

    def _write_particulars(self, holder: LockHolder) -> None:
        content = (json.dumps(asdict(holder)) + "\n").encode("ascii")
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, content)

    def _no_lock(self, cause: OSError) -> StateError:
        if cause.errno not in _REFUSALS:
            return storage_error("lock", self._path, cause)
        return StateError(
            "The file system cannot lock files.",
            detail=(
                f"{self._path} lies on a file system that refuses locks ({os.strerror(cause.errno or 0)}). Without a "
                "lock two runs could work on the same machines."
            ),
            resolution="Set DEPLOY_HOME to a folder on a local disk and move the deployment's folder there.",
        )

    def _refusal(self) -> LockedError:
        # Somebody who has just taken the lock may not have written yet who it is, so the file names the one before.
        deadline = time.monotonic() + _PARTICULARS_WAIT
        while True:
            holder = read_holder(self._path)
            if holder is not None and not holder.released and _is_alive(holder):
                return _held(self._path, holder)
            if time.monotonic() >= deadline:
                return _orphaned(self._path, holder)
            time.sleep(_PARTICULARS_WAIT / 10)


def _this_process(path: Path, command: str, since: str, run: str) -> LockHolder:
    return LockHolder(
        pid=os.getpid(),
        started=_start_of(os.getpid()),
        user=_user(),
        host=socket.gethostname(),
        command=command,
        since=since,
        run=run,
        machine=_first_line(_MACHINE),
        boot=_first_line(_BOOT),
        namespace=_namespace(),
        file=str(path),
    )


def is_gone(holder: LockHolder, ours: Path) -> bool:
    """Whether it is certain that neither the process nor a child of it, which would hold its file, lives any longer.

    Of another host, or of a container beside this one, that cannot be known.

    Args:
        holder: Who took a lock.
        ours: The lock file that this process holds; if the other one had the same, no child of it is left.
    """
    if holder.host != socket.gethostname() or holder.namespace != _namespace():
        return False
    if holder.boot and holder.boot == _first_line(_BOOT):
        is_same_process = holder.started != "" and _start_of(holder.pid) == holder.started
        return not is_same_process and (holder.file == str(ours) or _is_free(Path(holder.file)))
    # Started anew since then. Of a container nobody knows whether it is on the same host as before.
    return holder.namespace == _NO_CONTAINER and holder.machine != "" and holder.machine == _first_line(_MACHINE)


def lives_here(holder: LockHolder) -> bool:
    """Whether the process is one of this host, seen from here, and alive."""
    here = holder.host == socket.gethostname() and holder.namespace in ("", _namespace())
    return here and holder.started != "" and _start_of(holder.pid) == holder.started


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock file; taken for held if it cannot be looked at."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def read_holder(path: Path) -> LockHolder | None:
    """Who the lock file names; ``None`` if nobody or nothing readable. Says nothing about whether the lock is held."""
    try:
        with path.open("rb") as file:
            return LockHolder(**json.loads(file.read(_PARTICULARS_LIMIT)))
    except (OSError, ValueError, TypeError):
        return None


def lock_holding_processes(path: Path) -> dict[int, str]:
    """Processes that hold the lock on ``path``, by number, with their program's name; only those we may look at."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        wanted = path.stat()
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and _holds(process, wanted):
                found[int(process.name)] = _program(process)
    return found


def _holds(process: Path, wanted: os.stat_result) -> bool:
    try:
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                there = link.stat()
                is_open = (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino)
                # Somebody else who is just being refused has the file open as well, but no lock on it.
                if is_open and "FLOCK" in (process / "fdinfo" / link.name).read_text(encoding="ascii"):
                    return True
    except OSError:
        return False
    return False


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"


def _held(path: Path, holder: LockHolder) -> LockedError:
    run = f", run {holder.run}" if holder.run else ""
    here = holder.host == socket.gethostname()
    stop = f"`kill -INT {holder.pid}`" if here else f"`kill -INT {holder.pid}` on {holder.host}"
    return LockedError(
        "The deployment is in use.",
        detail=(
            f"{path.parent.name} is being worked on by process {holder.pid} of {holder.user} on {holder.host}: "
            f"`{holder.command}`, since {holder.since}{run}."
        ),
        resolution=f"Wait until it has ended, or stop it with Ctrl-C there ({stop}), then repeat the command.",
    )


def _orphaned(path: Path, holder: LockHolder | None) -> LockedError:
    processes = lock_holding_processes(path)
    names = ", ".join(f"{pid} ({program})" for pid, program in sorted(processes.items()))
    if holder is None:
        who = "Somebody holds the lock and did not say who"
    elif holder.released:
        who = f"Process {holder.pid}, which ran `{holder.command}`, ended its run at {holder.released}"
    else:
        who = f"Process {holder.pid} of {holder.user}, which ran `{holder.command}` since {holder.since}, is gone"
    still = f"still running: {names}" if names else "still running, but cannot be seen from here"
    word = "process" if holder is None else "child process of it"
    end = f"`kill {' '.join(str(pid) for pid in sorted(processes))}`" if processes else "ending it"
    return LockedError(
        "The deployment is in use.",
        detail=(
            f"{who}; a {word} (a play or another tool it started) that holds {path} is {still}. "
            "Until it has ended nothing else may work on the same machines."
        ),
        resolution=f"Wait until it has ended, which it does by itself, or end it with {end}, then repeat the command.",
    )


def _is_alive(holder: LockHolder) -> bool:
    """Whether the process that took the lock lives; on another host that cannot be known and is taken to be so."""
    return holder.host != socket.gethostname() or (holder.started != "" and _start_of(holder.pid) == holder.started)


def _start_of(pid: int) -> str:
    """Start of a process in clock ticks since boot; empty if there is no such process or it is only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        there, ours = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
