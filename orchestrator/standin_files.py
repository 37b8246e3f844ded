"""Gives the programs that take the place of what cannot be had, each as one file that can be put on a machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_PROGRAMS = Path(__file__).resolve().parent / "standins"


def standin_path(name: str, *, version: str = "") -> Path:
    """Path of a stand-in program, which is started as a process and never imported.

    Args:
        name: ``k3s_standin`` or ``oscar_standin.py``.
        version: The release of Kubernetes that it takes itself for, instead of its own.
    """
    if name != "k3s_standin":
        return _PROGRAMS / name
    source = _PROGRAMS / "k3s_standin.py"
    return _keep(f"{name}-{version}", source.read_bytes().replace(b"v1.31.5", version.encode())) if version else source


def _keep(name: str, content: bytes) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "continuum-deploy" / "standins"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as stream:
        stream.write(content)
    Path(stream.name).chmod(0o755)
    return Path(stream.name).replace(folder / name)
