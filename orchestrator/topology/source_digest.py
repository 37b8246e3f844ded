"""Digest of a component's source folder: the same bytes, names and modes give the same digest anywhere."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

IGNORED = frozenset({".git", "__pycache__"})
"""Names that are no part of a component's sources, at any depth."""


def source_digest(folder: Path) -> str:
    """Digest of everything under ``folder``, as ``sha256:`` and 64 hexadecimal digits.

    Covers relative names (sorted, with ``/``), whether a file is executable, and contents; a symbolic link counts by
    its target's text. Times, owners and the rest of the mode are left out: a clone must give the same digest.

    Raises:
        OSError: The folder or a file in it cannot be read.
    """
    total = hashlib.sha256()
    for name, path in sorted(_entries(folder)):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            kind, content = "link", os.fsencode(path.readlink())
        else:
            kind, content = ("executable" if mode & stat.S_IXUSR else "file"), path.read_bytes()
        entry = f"{kind}\0{name}\0{hashlib.sha256(content).hexdigest()}\n"
        total.update(entry.encode("utf-8", "surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def files_digest(folder: Path, names: Sequence[str]) -> str:
    """Digest of the contents of files under ``folder``, in their order, as ``sha256:`` and 64 hexadecimal digits.

    Raises:
        OSError: One of them cannot be read.
    """
    total = hashlib.sha256()
    for name in names:
        content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        total.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def source_files(folder: Path) -> list[str]:
    """Relative names (with ``/``) of the files that the digest covers, sorted."""
    return sorted(name for name, _ in _entries(folder))


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    for entry in os.scandir(folder):
        if entry.name in IGNORED:
            continue
        if entry.is_dir(follow_symlinks=False):
            for name, path in _entries(Path(entry.path)):
                yield f"{entry.name}/{name}", path
        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
            yield entry.name, Path(entry.path)
