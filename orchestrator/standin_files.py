"""Gives the programs that take the place of what cannot be had, each as one file that can be put on a machine."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import DeployError
from orchestrator.resources import user_cache_folder

_PROGRAMS = Path(__file__).resolve().parent / "standins"
_INTERPRETER = b"#!/usr/bin/env python3\n"
_START = "__main__.py"
_RELEASE = "release.py"
_MODE = 0o755


def standin_path(name: str, *, version: str = "") -> Path:
    """Path of a stand-in program, which is started as a process and never imported.

    One of several modules is packed into a file that Python executes, and kept in the user's cache. The file depends
    on nothing but the modules, as plays compare checksums.

    Args:
        name: ``k3s_standin`` or ``oscar_standin.py``.
        version: The release that it takes itself for, instead of the one in its ``release.py``.

    Raises:
        DeployError: If the file cannot be kept.
    """
    source = _PROGRAMS / name
    return _keep(name, _pack(source, version)) if source.is_dir() else source


def _pack(folder: Path, version: str) -> bytes:
    """The modules of a package as an archive that starts its ``__main__.py``; not compressed, which zlibs do unlike."""
    packed = io.BytesIO()
    packed.write(_INTERPRETER)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in _modules(folder, version):
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def _modules(folder: Path, version: str) -> Iterator[tuple[str, bytes]]:
    """Names in the archive and contents, always in the same order."""
    yield _START, (folder / _START).read_bytes()
    for path in sorted(folder.glob("*.py")):
        if path.name == _RELEASE and version:
            yield f"{folder.name}/{_RELEASE}", f'KUBERNETES_VERSION = "{version}"\n'.encode()
        elif path.name != _START:
            yield f"{folder.name}/{path.name}", path.read_bytes()


def _keep(name: str, content: bytes) -> Path:
    """The file with that content, named for it, so that processes of several versions do not disturb each other."""
    path = user_cache_folder() / "standins" / hashlib.sha256(content).hexdigest()[:16] / name
    try:
        if not _is_there(path, content):
            _write(path, content)
    except OSError as cause:
        raise DeployError(
            "A stand-in's file cannot be kept.",
            detail=f"{path} cannot be written: {cause.strerror or cause}.",
            resolution="Make room for it, or name another folder in XDG_CACHE_HOME.",
        ) from cause
    return path


def _is_there(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content and path.stat().st_mode & 0o777 == _MODE
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    """Put it there in one step: others may be reading what was there, or writing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        temporary.chmod(_MODE)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
