"""registries.yaml, and what containerd is told of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from k3s_standin.machine import rooted, write_private
from k3s_standin.process import log
from k3s_standin.scalars import YamlError
from k3s_standin.yaml_subset import load_yaml


def load_registries() -> dict[str, Any]:
    """``registries.yaml``; raises YamlError as K3s's reader does where it is not what it should be."""
    path = rooted("/etc/rancher/k3s/registries.yaml")
    if not path.is_file():
        return {}
    documents = load_yaml(path.read_text())
    loaded = documents[0] if documents else {}
    if not isinstance(loaded, dict):
        raise YamlError(f"yaml: unmarshal errors: cannot unmarshal {loaded!r} into registries.Registry")
    for section in ("mirrors", "configs"):
        entries = loaded.get(section) or {}
        if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values() if e is not None):
            raise YamlError(f"yaml: unmarshal errors: {section}: cannot unmarshal into a map of registries")
        for host, entry in entries.items():
            endpoints = (entry or {}).get("endpoint", [])
            if not isinstance(endpoints, list):
                raise YamlError(f"yaml: unmarshal errors: {section}: {host}: endpoint: cannot unmarshal into []string")
    return loaded


def write_registries(data: Path, registries: dict[str, Any]) -> None:
    """What containerd is told of the mirrors, one folder each."""
    folder = data / "agent" / "etc" / "containerd" / "certs.d"
    shutil.rmtree(folder, ignore_errors=True)
    for host, entry in (registries.get("mirrors") or {}).items():
        endpoints = (entry or {}).get("endpoint") or []
        text = "".join(f'[host."{e}"]\n  capabilities = ["pull", "resolve"]\n' for e in endpoints)
        write_private(folder / host / "hosts.toml", text or f'server = "https://{host}/v2"\n')


def are_registries_in_order(data: Path) -> bool:
    """Hand ``registries.yaml`` on; while it cannot be read a node has no configuration, and goes on asking for it."""
    try:
        write_registries(data, load_registries())
    except YamlError as reason:
        log("info", f"Waiting to retrieve agent configuration; server is not ready: {reason}")
        return False
    return True
