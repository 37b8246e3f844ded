"""Finds what ships with the program (TOSCA types, profiles, playbooks, Terraform modules) and where its cache is."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE / "_data" if (_PACKAGE / "_data").is_dir() else _PACKAGE.parent


def data_path(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. ``data_path("tosca", "types")``.

    An installed wheel keeps them under ``orchestrator/_data``; a source tree at its top level.
    """
    return _ROOT.joinpath(*parts)


def user_cache_folder() -> Path:
    """Where this program keeps for all deployments what it can make again: archives, packed programs, locks."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root).absolute() / "continuum-deploy"
