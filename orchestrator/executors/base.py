"""What an executor gets and gives back. One executor an implementation artifact type; see ``registry.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Protocol

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secrets import SecretStore
from orchestrator.topology.model import Value

DEGRADED = "degraded"
"""Attribute that lists what could not be reached and was left out; empty once an operation has reached everything."""

DEGRADED_BECAUSE = "degraded_because"
"""Attribute that says why, by address and as a clause, where more is known than that it does not answer."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a deployment keeps its files.

    Attributes:
        deployment: ``.deploy/<name>``.
        run: ``.deploy/<name>/runs/<run>``: logs and artefacts of this run.
        application: Folder that relative artifact files (component sources) are looked up in.
        cache: Shared by all deployments: images, archives.
    """

    deployment: Path
    run: Path
    application: Path
    cache: Path


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One operation of one node instance.

    Attributes:
        tag: Deployment name and lineage.
        action: Why the operation runs.
        operation: Name in TOSCA's Standard interface: ``create``, ``configure``, ``start``, ``stop``, ``delete``.
        implementation: What to run: artifact file and operation inputs.
        instance: The node instance, with properties resolved and its binding.
        record: What the state knows of it (attributes so far, generation, pending token).
        known: Every record of the state, by address, as of the start of this operation.
        desired: Every desired instance, by address (empty while destroying what nobody wants any longer).
        folders: Where files go.
        secrets: Where secret values live.
        progress: Called with one short line when something worth showing happens.
        cancel: Set when the operator wants to stop; checked between steps that may be left out.
        lock_fds: Descriptors of the deployment's lock, for child processes to inherit.
    """

    tag: DeploymentTag
    action: Action
    operation: str
    implementation: Operation
    instance: DesiredInstance
    record: InstanceRecord
    known: Mapping[str, InstanceRecord]
    desired: Mapping[str, DesiredInstance]
    folders: Folders
    secrets: SecretStore
    progress: Callable[[str], None]
    cancel: Event
    lock_fds: tuple[int, ...] = ()

    def requirement_targets(self, name: str) -> tuple[InstanceRecord, ...]:
        """Records of the instances that the requirement ``name`` points to, in order."""
        return tuple(self.known[a] for a in self.instance.requirements.get(name, ()) if a in self.known)


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What an operation found out: attributes to merge into the record, and whether anything was changed."""

    attributes: Mapping[str, Value] = field(default_factory=dict)
    changed: bool = True


class Executor(Protocol):
    """Runs operations whose implementation artifact has the executor's type.

    One whose operations take much of this computer has an attribute ``max_parallel``: how many it runs at once.
    """

    def run(self, request: OperationRequest) -> OperationResult:
        """Do it, idempotently: a repeated call after a crash finds what the first one made. Raises OperationError."""

    def observe(self, request: OperationRequest) -> Observation:
        """Look at what is there now, within 5 s, without changing anything; never raises for what is away."""
