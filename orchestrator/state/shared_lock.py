"""The lock of a deployment whose state several hosts share: the one of this host, and one beside the state."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self
from uuid import uuid4

from orchestrator.errors import DeployError, LockedError
from orchestrator.state.clock import Clock, utc_now
from orchestrator.state.lock import DeploymentLock, LockHolder


class SharedLock(Protocol):
    """A lock that is kept beside the state, for all hosts. Every method raises StateError with what to do."""

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that hold the lock while any process has them; none if it does not depend on processes."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found and mended when it was taken, in full sentences."""

    def acquire(self, holder: LockHolder) -> None:
        """Take it without waiting.

        Raises:
            LockedError: If somebody holds it; says who, where, since when, and what to do.
        """

    def release(self, *, children_left: bool) -> None:
        """Give it back.

        Args:
            children_left: Whether child processes that work on the deployment are left, for which it is to stay taken
                as long as they live, if it depends on processes.
        """

    def read_holder(self) -> LockHolder | None:
        """Who holds it now, or ``None`` if nobody does."""

    def break_open(self, holder: LockHolder) -> None:
        """Take it away from ``holder``.

        Raises:
            LockedError: If somebody else holds it by now.
        """


class RunLock:
    """Everything that has to be held to work on a deployment; a context manager that releases.

    Args:
        local: The lock of this host, which its child processes inherit.
        shared: The locks beside the places where the state is kept; none if that is a folder of this host.
    """

    def __init__(self, local: DeploymentLock, shared: Sequence[SharedLock] = ()) -> None:
        self._local = local
        self._shared = tuple(shared)
        self._held: list[SharedLock] = []

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors for child processes to inherit (``pass_fds``), so that the lock is held while one lives."""
        own = (self._local.fd,) if self._local.fd >= 0 else ()
        return own + tuple(fd for lock in self._held for fd in lock.fds)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found and mended when it was taken, in full sentences."""
        return tuple(text for lock in self._shared for text in lock.warnings)

    def read_holder(self) -> LockHolder | None:
        """Who holds any of them now; ``None`` if nobody does."""
        own = self._local.read_holder()
        found = (lock.read_holder() for lock in self._shared)
        return own or next((holder for holder in found if holder is not None), None)

    def acquire(self, command: str, *, run: str = "") -> Self:
        """Take all of them without waiting.

        Args:
            command: What it is for, shown to whoever is refused; never holds a secret.
            run: The run's identifier.

        Raises:
            LockedError: If somebody holds one of them; then none is held.
            StateError: If one cannot be asked for.
        """
        self._local.acquire(command, run=run)
        try:
            for lock in self._shared:
                lock.acquire(replace(self._local.holder, token=uuid4().hex))
                self._held.append(lock)
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Give all of them back. What child processes inherited stays taken while they live.

        Raises:
            StateError: If a shared lock cannot be given back; the one of this host is given back all the same.
        """
        left = bool(self._held) and self._local.has_children()
        failed: list[DeployError] = []
        while self._held:
            try:
                self._held.pop().release(children_left=left)
            except DeployError as error:
                failed.append(error)
        self._local.release()
        if failed:
            raise failed[0]

    def __enter__(self) -> Self:
        """The lock; ``acquire`` comes before."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release; an error that is on its way is not replaced by one of the release."""
        with contextlib.suppress(DeployError) if error is not None else contextlib.nullcontext():
            self.release()


class FolderLock:
    """The lock of a folder that is not the deployment's own, as a shared one.

    Args:
        lock: That folder's lock.
    """

    def __init__(self, lock: DeploymentLock) -> None:
        self._lock = lock

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptor of the file."""
        return (self._lock.fd,) if self._lock.fd >= 0 else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the kernel knows who holds it."""
        return ()

    def acquire(self, holder: LockHolder) -> None:
        """Take it."""
        self._lock.acquire(holder.command, run=holder.run)

    def release(self, *, children_left: bool) -> None:  # noqa: ARG002 - the kernel sees to them
        """Give it back; it stays taken while a child that inherited it lives."""
        self._lock.release()

    def read_holder(self) -> LockHolder | None:
        """Who holds it now."""
        return self._lock.read_holder()

    def break_open(self, holder: LockHolder) -> None:
        """Nothing to do: the kernel frees it with the last process that holds it."""


def held_elsewhere(deployment: str, holder: LockHolder, clock: Clock = utc_now) -> LockedError:
    """The refusal because of a holder whose fate cannot be known from here.

    Args:
        deployment: Name of the deployment.
        holder: Who holds the lock.
        clock: Says how long ago it was taken.
    """
    run = f", run {holder.run}" if holder.run else ""
    return LockedError(
        "The deployment is in use.",
        detail=(
            f"{deployment} is being worked on by process {holder.pid} of {holder.user} on {holder.host}: "
            f"`{holder.command}`, since {holder.since} ({age_of(holder, clock)}){run}."
        ),
        resolution=(
            f"Wait until it has ended, or stop it with Ctrl-C there (`kill -INT {holder.pid}` on {holder.host}). Only "
            "if you know that neither it nor a play it started is running any longer (its host was switched off or is "
            f"gone), take the lock away with `deploy state unlock {deployment}`."
        ),
        doc="docs/state.md",
    )


def age_of(holder: LockHolder, clock: Clock = utc_now) -> str:
    """How long ago the lock was taken, in words; the clocks of two hosts may differ."""
    try:
        since = datetime.fromisoformat(holder.since)
    except ValueError:
        return "nobody knows how long ago"
    seconds = int((clock() - (since if since.tzinfo else since.replace(tzinfo=UTC))).total_seconds())
    if seconds < 0:
        return "by its clock in the future"
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'s' if count != 1 else ''} ago"
    return f"{seconds} s ago"
