"""The file in which secrets were kept unencrypted once: read, and removed when they have been sealed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from orchestrator.errors import StateError
from orchestrator.state.durable_file import read_if_there, storage_error, sync_folder

_VERSION = 1


class PlainSecretFile:
    """``secrets.json`` as versions before the sealed document wrote it.

    Every method raises StateError if the file is damaged, open to others, or cannot be read. No message holds a value.

    Args:
        folder: The folder it is in.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "secrets.json"

    def read(self) -> dict[str, str]:
        """The values by name; none if there is no such file."""
        content = read_if_there(self._path)
        if content is None:
            return {}
        check_private(self._path)
        return self._parsed(content)

    def remove(self) -> None:
        """Remove it; nothing there is no error."""
        try:
            if self._path.exists():
                self._path.unlink()
                sync_folder(self._path.parent)
        except OSError as cause:
            raise storage_error("remove", self._path, cause) from cause

    def _parsed(self, content: bytes) -> dict[str, str]:
        try:
            document = json.loads(content)
            version, values = document["schema"], document["secrets"]
            whole = all(isinstance(part, str) for pair in values.items() for part in pair)
        except (ValueError, KeyError, TypeError, AttributeError):
            # The cause is left out: it would hold the text of the file.
            raise self._damaged("it is cut off or is no JSON of the expected form") from None
        if version != _VERSION:
            raise self._damaged(f"it has version {version!r}, and this program reads {_VERSION}")
        if not whole:
            raise self._damaged("a name or value in it is no text")
        return dict(values)

    def _damaged(self, reason: str) -> StateError:
        return damaged_secrets(f"{self._path}: {reason}.")


def damaged_secrets(what: str) -> StateError:
    """Secrets that cannot be read.

    Args:
        what: A sentence that says where they are and what is wrong with them, without a value.
    """
    return StateError(
        "The secrets cannot be read.",
        detail=f"{what} Nothing was changed.",
        resolution=(
            "Put them back from a copy of your own. Without them machines and services that exist cannot be "
            "entered any longer and have to be destroyed and made anew."
        ),
    )


def check_private(path: Path) -> None:
    """Refuse a file or folder that others can read, or that belongs to somebody else; it is not quietly mended.

    Raises:
        StateError: If it is so.
    """
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        closed = "700" if path.is_dir() else "600"
        raise StateError(
            "The secrets are open to others.",
            detail=f"{path} has mode {mode:04o}, so other users may have read it.",
            resolution=f"Close it with `chmod {closed} {path}`; if others use this machine, make the secrets anew.",
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise StateError(
            "The secrets belong to another user.",
            detail=f"{path} belongs to user number {status.st_uid}, who can read and change it.",
            resolution=f"Work as that user, or take the file over with `chown {os.geteuid()} {path}`.",
        )
