"""Finds the data files that ship with the program: TOSCA types and profiles, playbooks, Terraform modules."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE / "_data" if (_PACKAGE / "_data").is_dir() else _PACKAGE.parent


def data_path(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. ``data_path("tosca", "types")``.

    An installed wheel keeps them under ``orchestrator/_data``; a source tree at its top level.
    """
    return _ROOT.joinpath(*parts)
