"""Remembers which templates our own checks and tosca-parser accepted, since that takes longer than everything else."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from orchestrator import topology
from orchestrator.resources import user_cache_folder


def is_known_good(template: str, type_files: Sequence[Path]) -> bool:
    """Whether this template with these types was accepted before, by the same checks and version of tosca-parser."""
    try:
        return (_folder() / _key(template, type_files)).exists()
    except OSError:
        return False


def remember_good(template: str, type_files: Sequence[Path]) -> None:
    """Remember that it was accepted; where nothing can be written, nothing is remembered."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _key(template, type_files)).touch()


def _folder() -> Path:
    return user_cache_folder() / "accepted-templates"


def _key(template: str, type_files: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{_parser()}\n".encode())
    for path in (*sorted(Path(topology.__file__).parent.glob("*.py")), *type_files):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(template.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _parser() -> str:
    """Name and version of the installed parser, read off its folder: asking the package system takes 50 ms."""
    spec = find_spec("toscaparser")
    folder = Path(spec.origin).parent.parent if spec and spec.origin else Path()
    return " ".join(sorted(entry.name for entry in folder.glob("tosca_parser-*"))) or "tosca-parser"
