"""Writes that are on the disk when they return, and plain words for what a disk can refuse."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from orchestrator.errors import StateError

_RESOLUTIONS = {
    errno.ENOSPC: "Free some space on that file system, then repeat the command; what was saved before is unharmed.",
    errno.EDQUOT: "Free some space within your quota, then repeat the command; what was saved before is unharmed.",
    errno.EFBIG: "Raise the limit on file sizes (`ulimit -f`), then repeat the command.",
    errno.EROFS: "Mount the file system writable, or set DEPLOY_HOME to a folder that can be written.",
    errno.EACCES: "Give yourself the right to read and write there, or set DEPLOY_HOME to a folder of your own.",
    errno.EPERM: "Give yourself the right to read and write there, or set DEPLOY_HOME to a folder of your own.",
    errno.EIO: "The disk reports errors: look at `dmesg`, and copy the folder elsewhere before going on.",
    errno.ENOENT: "The folder went away while it was in use. Put it back, then repeat the command.",
}


def storage_error(doing: str, path: Path, cause: OSError) -> StateError:
    """A failed file operation as an error for people.

    Args:
        doing: Follows "Could not", e.g. ``"write"``.
        path: The file or folder.
        cause: What the system said.
    """
    return StateError(
        "The state cannot be read." if doing == "read" else "The state cannot be written.",
        detail=f"Could not {doing} {path}: {os.strerror(cause.errno) if cause.errno else cause}.",
        resolution=_RESOLUTIONS.get(cause.errno or 0, "Mend what the system reports, then repeat the command."),
    )


def read_if_there(path: Path) -> bytes | None:
    """The file's content, or ``None`` if there is no such file.

    Raises:
        StateError: If it is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise storage_error("read", path, cause) from cause


def make_folder(folder: Path, *, mode: int = 0o700) -> None:
    """Make the folder and its parents; one that exists is left as it is.

    Raises:
        StateError: If that is refused.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as cause:
        raise storage_error("make the folder", folder, cause) from cause


def sync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write everything; one system call unless the system takes only a part."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``path`` so that a crash leaves either the old or the new file, whole.

    The file is readable and writable by its owner only.

    Raises:
        StateError: If that is refused; the old file is still there then.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as cause:
        raise storage_error("write", path, cause) from cause
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def remove_temporaries(folder: Path) -> None:
    """Remove what writes that were killed half-way left behind."""
    for leftover in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()
