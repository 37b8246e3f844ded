"""The back-end of one host: every deployment in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from orchestrator.state.backend import BackendUrl
from orchestrator.state.document_file import FileDocument
from orchestrator.state.document_store import DocumentStore
from orchestrator.state.folders import (
    deploy_home,
    deployment_folder,
    list_folders_with_state,
    secrets_folder,
    state_folder,
)
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.lock import DeploymentLock
from orchestrator.state.shared_lock import FolderLock, SharedLock

SEALED_SECRETS = "sealed.json"
"""Name of the file that holds a deployment's secrets, sealed, in its folder for secrets."""


class LocalBackend:
    """States in folders of this host.

    Args:
        url: ``file:`` for ``DEPLOY_HOME``, or ``file:///path`` for another folder.
    """

    def __init__(self, url: BackendUrl) -> None:
        url.check_options(())
        if url.host not in ("", "localhost"):
            raise url.refused(f"{url.host!r} is another host. A folder has three slashes: `file:///path`.")
        if url.path and not url.path.startswith("/"):
            raise url.refused("The path does not begin with a slash.")
        self._home = Path(url.path) if url.path.strip("/") else deploy_home()

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._home)

    def deployments(self) -> tuple[str, ...]:
        """Names of all deployments that have a state, in order."""
        return list_folders_with_state(self._home)

    def state_store(self, name: str) -> LocalStateStore:
        """Keeps the state of one of them."""
        return LocalStateStore(state_folder(name, self._home))

    def shared_lock(self, name: str) -> SharedLock | None:
        """None, unless it is another folder than that of the runs."""
        folder = deployment_folder(name, self._home)
        return None if folder == deployment_folder(name) else FolderLock(DeploymentLock(folder))

    def secrets_document(self, name: str) -> DocumentStore:
        """Keeps its sealed secrets."""
        return FileDocument(secrets_folder(name, self._home) / SEALED_SECRETS)

    def close(self) -> None:
        """Nothing is open."""
