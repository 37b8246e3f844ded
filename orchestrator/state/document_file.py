"""One small document in a file that only its owner can read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from orchestrator.errors import StateError
from orchestrator.state.document_store import StoredDocument
from orchestrator.state.durable_file import make_folder, read_if_there, replace_file, storage_error, sync_folder
from orchestrator.state.secret_file import check_private


class FileDocument:
    """A document in a file (mode 0600), in a folder of its own (mode 0700).

    Args:
        path: The file; it and its folder are made at the first write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> StoredDocument | None:
        """The document, or ``None`` if there is none."""
        content = read_if_there(self._path)
        if content is None:
            return None
        check_private(self._path.parent)
        check_private(self._path)
        return StoredDocument(content, _version(content))

    def write(self, content: bytes, previous: str) -> str:
        """Replace the document if it still is the version ``previous``; returns the new version."""
        make_folder(self._path.parent)
        check_private(self._path.parent)
        with self._alone():
            stored = self.read()
            if (stored.version if stored else "") != previous:
                raise StateError(
                    "Somebody else has changed the same thing.",
                    detail=f"{self._path} was replaced by another process meanwhile; nothing was written.",
                    resolution="Run the command again.",
                )
            replace_file(self._path, content)
        return _version(content)

    def delete(self) -> None:
        """Remove the document; nothing there is no error."""
        try:
            if self._path.exists():
                self._path.unlink()
                sync_folder(self._path.parent)
        except OSError as cause:
            raise storage_error("remove", self._path, cause) from cause

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; the kernel lets go of it when a process ends, however it does."""
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _version(content: bytes) -> str:
    return sha256(content).hexdigest()
