"""A deployment on disk: its folders, state, secrets and lock, opened for reading or for working on it."""

from __future__ import annotations

import secrets as random_secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from orchestrator.engine.operations import RunContext
from orchestrator.executors.base import Folders
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.desired import DesiredInstance
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.folders import cache_folder, deployment_folder, new_run_id
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.lock import DeploymentLock
from orchestrator.state.model import State
from orchestrator.state.secret_file import FileSecretStore
from orchestrator.state.session import StateWriter


@dataclass(slots=True)
class OpenDeployment:
    """A deployment that a command looks at or works on.

    Attributes:
        name: Its name.
        folder: ``.deploy/<name>``.
        store: Where its state is.
        state: The state as loaded; ``None`` if there is none.
        secrets: Its secret values.
        cancel: Set when the operator wants to stop.
        run: Identifier of this run.
        run_folder: Folder for what this run writes.
        lock_fd: Descriptor of the lock; -1 while only looking.
    """

    name: str
    folder: Path
    store: LocalStateStore
    state: State | None
    secrets: FileSecretStore
    cancel: Event
    run: str
    run_folder: Path
    lock_fd: int = -1

    def writer(self) -> StateWriter:
        """The writer of the state; begins one with a new lineage if there is none."""
        if self.state is None:
            return StateWriter.begin(self.store, self.name, random_secrets.token_hex(16))
        return StateWriter(self.store, self.state)

    def context(self, lineage: str, desired: Mapping[str, DesiredInstance], application_root: str) -> RunContext:
        """What the changes of a run share."""
        return RunContext(
            tag=DeploymentTag(self.name, lineage),
            run=self.run,
            folders=Folders(self.folder, self.run_folder, Path(application_root), cache_folder()),
            secrets=self.secrets,
            desired=desired,
            executors=ExecutorRegistry(),
            cancel=self.cancel,
            lock_fd=self.lock_fd,
        )


def open_for_reading(name: str) -> OpenDeployment:
    """Open without a lock: what is read may be changed by another process meanwhile."""
    folder = deployment_folder(name)
    store = LocalStateStore(folder / "state")
    run = new_run_id()
    run_folder = folder / "runs" / run
    return OpenDeployment(name, folder, store, store.load(), FileSecretStore(folder), Event(), run, run_folder)


@contextmanager
def open_for_working(name: str, command: str, cancel: Event) -> Iterator[OpenDeployment]:
    """Open with the lock held until the end of the block.

    Raises:
        LockedError: If another process, or a child that one left behind, works on it.
    """
    folder = deployment_folder(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with DeploymentLock(folder, command) as lock:
        opened = open_for_reading(name)
        opened.cancel = cancel
        opened.lock_fd = lock.fd
        opened.run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield opened
