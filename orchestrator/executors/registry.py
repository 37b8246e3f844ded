"""Which class runs which kind of implementation artifact; a new kind is one module and one line here."""

from __future__ import annotations

from importlib import import_module
from threading import Lock

from orchestrator.errors import OperationError
from orchestrator.executors.base import Executor

EXECUTORS = {
    "continuum.artifacts.Machine": "orchestrator.executors.compute:MachineExecutor",
    "continuum.artifacts.AnsiblePlaybook": "orchestrator.executors.ansible:AnsibleExecutor",
    "continuum.artifacts.Existing": "orchestrator.executors.existing:ExistingExecutor",
    "continuum.artifacts.ImageBuild": "orchestrator.executors.image:ImageExecutor",
    "continuum.artifacts.OscarService": "orchestrator.executors.oscar_service:OscarServiceExecutor",
}
"""Artifact type to ``module:Class``, imported when first asked for."""


class ExecutorRegistry:
    """Gives the executors of one command; each is made once and may remember what it saw."""

    def __init__(self) -> None:
        self._loaded: dict[str, Executor] = {}
        self._lock = Lock()

    def parallel_limit(self, artifact_type: str) -> int:
        """How many operations of this kind run on this computer at the same time at most; 0 for no bound of its own."""
        return int(getattr(self.get(artifact_type), "max_parallel", 0)) if artifact_type in EXECUTORS else 0

    def get(self, artifact_type: str) -> Executor:
        """The executor for an artifact type.

        Raises:
            OperationError: If there is none.
        """
        with self._lock:
            if artifact_type not in self._loaded:
                if artifact_type not in EXECUTORS:
                    raise OperationError(
                        "Nothing can run this implementation.",
                        detail=f"An operation's artifact has type {artifact_type!r}; known: {', '.join(EXECUTORS)}.",
                        resolution="Correct the artifact type in the node type's definition.",
                    )
                module, _, attribute = EXECUTORS[artifact_type].partition(":")
                self._loaded[artifact_type] = getattr(import_module(module), attribute)()
            return self._loaded[artifact_type]
