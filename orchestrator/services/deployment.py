"""A deployment on disk: its folders, state, secrets and lock, opened for reading or for working on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from orchestrator.engine.hooks import Hook
from orchestrator.engine.operations import RunContext
from orchestrator.executors.base import Folders
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Plan
from orchestrator.providers.base import DeploymentTag
from orchestrator.services.run_log import RunLog, recorded
from orchestrator.services.runs import read_durations, remove_old_runs
from orchestrator.state.backend import Backend, lock_of, open_backend
from orchestrator.state.folders import (
    cache_folder,
    deployment_folder,
    make_run_folder,
    new_run_id,
)
from orchestrator.state.former import newest_former
from orchestrator.state.model import State
from orchestrator.state.secret_store import SealedSecretStore, open_secrets
from orchestrator.state.session import DeploymentSession


@dataclass(frozen=True, slots=True)
class OpenDeployment:
    """A deployment that a command looks at or works on.

    Attributes:
        name: Its name.
        folder: ``.deploy/<name>``.
        session: Its state; nothing is written before the first step.
        secrets: Its secret values.
        cancel: Set when the operator wants to stop.
        run: Identifier of this run.
        run_folder: Folder for what this run writes; made only for a run that works.
        lock_fds: Descriptors of the lock; none while only looking.
        log: The record of the run; ``None`` while only looking.
        warnings: What was found and mended when the lock was taken, in full sentences.
    """

    name: str
    folder: Path
    session: DeploymentSession
    secrets: SealedSecretStore
    cancel: Event
    run: str
    run_folder: Path
    lock_fds: tuple[int, ...] = ()
    log: RunLog | None = None
    warnings: tuple[str, ...] = ()

    def noting(self, plan: Plan, hook: Hook) -> Hook:
        """A hook for the walk of ``plan`` that keeps the record of the run, then hands every event on to ``hook``."""
        if self.log is None:
            return hook
        self.log.planned(plan)
        return self.log.listening(hook)

    @property
    def state(self) -> State | None:
        """The state as it is now; ``None`` if nothing was ever applied, or all of it was destroyed."""
        state = self.session.state
        return state if state.serial else None

    def expected_seconds(self, plan: Plan) -> dict[str, float]:
        """How long the changes of a plan will probably take, by address, from earlier runs."""
        return read_durations(self.folder).of(plan.changes)

    def context(self, desired: Mapping[str, DesiredInstance], application_root: str) -> RunContext:
        """What the changes of a run share."""
        return RunContext(
            tag=DeploymentTag(self.name, self.session.state.lineage),
            run=self.run,
            folders=Folders(self.folder, self.run_folder, Path(application_root), cache_folder()),
            secrets=self.secrets,
            desired=desired,
            executors=ExecutorRegistry(),
            cancel=self.cancel,
            lock_fds=self.lock_fds,
            newest_former=newest_former(self.session.state.instances),
        )


def open_for_reading(name: str) -> OpenDeployment:
    """Open without a lock: what is read may be changed by another process meanwhile."""
    folder = deployment_folder(name)
    run = new_run_id()
    return _open(open_backend(), name, Event(), run, folder / "runs" / run)


@contextmanager
def open_for_working(name: str, command: str, cancel: Event) -> Iterator[OpenDeployment]:
    """Open with the lock held until the end of the block.

    Args:
        name: The deployment.
        command: What is being done, shown to whoever is refused meanwhile.
        cancel: Set when the operator wants to stop.

    Raises:
        LockedError: If another process, or a child that one left behind, works on it.
    """
    folder = deployment_folder(name)
    backend = open_backend()
    with lock_of(name, backend).acquire(command) as lock:
        run, run_folder = make_run_folder(folder)
        opened = _open(backend, name, cancel, run, run_folder)
        remove_old_runs(folder, {run, *(r.pending.run for r in opened.session.state.instances.values() if r.pending)})
        with recorded(RunLog(run_folder, run, name, command, opened.secrets.values)) as log:
            yield replace(opened, lock_fds=lock.fds, log=log, warnings=lock.warnings)


def _open(backend: Backend, name: str, cancel: Event, run: str, run_folder: Path) -> OpenDeployment:
    session = DeploymentSession(backend.state_store(name), name)
    secrets = open_secrets(name, backend.secrets_document(name))
    return OpenDeployment(name, deployment_folder(name), session, secrets, cancel, run, run_folder)
