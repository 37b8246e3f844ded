"""Secret values in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import secrets
import stat
import threading
from pathlib import Path

from orchestrator.errors import StateError
from orchestrator.state.durable_file import make_folder, read_if_there, replace_file, storage_error, sync_folder

_VERSION = 1
_RANDOM_BYTES = 24
"""Give 32 characters in base64."""


class FileSecretStore:
    """``secrets.json`` (mode 0600) in a folder of its own (mode 0700); safe to use from several threads.

    Every method raises StateError if the file is damaged, open to others, or cannot be read or written. No message
    holds a value.

    Args:
        folder: The folder; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "secrets.json"
        self._guard = threading.RLock()
        self._cached: tuple[tuple[int, ...], dict[str, str]] | None = None

    def get_or_create(self, name: str) -> str:
        """The value of ``name``; 32 random URL-safe characters are made and stored the first time."""
        with self._guard:
            value = self._read().get(name)
            if value is None:
                value = secrets.token_urlsafe(_RANDOM_BYTES)
                self.put(name, value)
            return value

    def put(self, name: str, value: str) -> None:
        """Store a value made elsewhere, e.g. a private key."""
        with self._guard:
            values = self._read()
            if values.get(name) != value:
                self._write({**values, name: value})

    def get(self, name: str) -> str | None:
        """The value of ``name``, or ``None``."""
        with self._guard:
            return self._read().get(name)

    def values(self) -> tuple[str, ...]:
        """Every value, for masking them in output."""
        with self._guard:
            return tuple(self._read().values())

    def clear(self) -> None:
        """Remove every value, when the deployment is gone."""
        with self._guard:
            try:
                if self._path.exists():
                    self._path.unlink()
                    sync_folder(self._folder)
            except OSError as cause:
                raise storage_error("remove", self._path, cause) from cause
            self._cached = None

    def _write(self, values: dict[str, str]) -> None:
        make_folder(self._folder)
        self._check_private(self._folder)
        content = {"schema": _VERSION, "secrets": values}
        replace_file(self._path, (json.dumps(content, indent=1) + "\n").encode("ascii"))
        self._cached = None

    def _read(self) -> dict[str, str]:
        """The values; the file is read again only when it is another than last time."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return {}
        except OSError as cause:
            raise storage_error("read", self._path, cause) from cause
        version = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode, status.st_uid)
        if self._cached is None or self._cached[0] != version:
            self._check_private(self._folder)
            self._check_private(self._path)
            self._cached = (version, self._parsed(read_if_there(self._path) or b""))
        return self._cached[1]

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
        return StateError(
            "The secrets cannot be read.",
            detail=f"{self._path}: {reason}. Nothing was changed.",
            resolution=(
                "Put the file back from a copy of your own. Without it machines and services that exist cannot be "
                "entered any longer and have to be destroyed and made anew."
            ),
        )

    def _check_private(self, path: Path) -> None:
        status = path.stat()
        wide = stat.S_IMODE(status.st_mode) & 0o077
        if wide:
            mode = "700" if path.is_dir() else "600"
            raise StateError(
                "The secrets are open to others.",
                detail=f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, so other users may have read it.",
                resolution=f"Close it with `chmod {mode} {path}`; if others use this machine, make the secrets anew.",
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise StateError(
                "The secrets belong to another user.",
                detail=f"{path} belongs to user number {status.st_uid}, who can read and change it.",
                resolution=f"Work as that user, or take the file over with `chown {os.geteuid()} {path}`.",
            )
