"""Manifests: files of Kubernetes objects."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

from k3s_standin.scalars import YamlError
from k3s_standin.yaml_subset import load_yaml


def read_manifests(folder: Path, disabled: list[str]) -> list[dict[str, Any]]:
    """The files of the folder that count, those of disabled components taken away from it."""
    found = []
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    skipped = {p.name.removesuffix(".skip") for p in paths if p.name.endswith(".skip")}
    for path in paths:
        if path.name.startswith(".") or path.suffix not in {".yaml", ".yml", ".json"} or path.name in skipped:
            continue
        is_disabled = path.name.split(".")[0] in disabled
        with contextlib.suppress(FileNotFoundError):
            content = base64.b64encode(path.read_bytes()).decode()
            changed = path.stat().st_mtime_ns
            found.append({"path": str(path), "changed": changed, "content": content, "disabled": is_disabled})
            if is_disabled:
                path.unlink()
    return found


def parse_manifest(text: str) -> list[dict[str, Any]]:
    """Every object of a manifest; lists are taken apart."""
    found: list[dict[str, Any]] = []
    for value in load_yaml(text):
        if not isinstance(value, dict) or not value.get("kind"):
            raise YamlError("Object 'Kind' is missing")
        if not value.get("apiVersion"):
            raise YamlError("Object 'apiVersion' is missing")
        found += value.get("items", []) if str(value["kind"]).endswith("List") else [value]
    return found


def in_order(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Namespaces and definitions first, as K3s applies them."""
    ranks = {"Namespace": 0, "CustomResourceDefinition": 1}
    return sorted(values, key=lambda value: ranks.get(str(value["kind"]), 2))
