"""Manifest → text in the three forms that programs read."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex

import yaml

from orchestrator.manifest.model import Manifest

FORMATS = ("json", "yaml", "env")


def render_manifest(manifest: Manifest, form: str) -> str:
    """The manifest as JSON, YAML, or shell assignments (``env``).

    Args:
        manifest: The manifest.
        form: One of :data:`FORMATS`.
    """
    content = json.loads(json.dumps(dataclasses.asdict(manifest)))
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if form == "yaml":
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in _variables(manifest).items())


def _variables(manifest: Manifest) -> dict[str, str]:
    found = {"DEPLOYMENT": manifest.deployment, "PROFILE": manifest.profile}
    for name, paths in (("INPUTS", manifest.inputs), ("OUTPUTS", manifest.outputs)):
        found[name] = " ".join(f"{p.store}/{p.path}" for p in paths)
    for cluster in manifest.clusters:
        prefix = "CLUSTER_" + _name(cluster.name)
        found[f"{prefix}_API_ENDPOINT"] = cluster.api_endpoint
        found[f"{prefix}_KUBECONFIG"] = cluster.kubeconfig
        found[f"{prefix}_OSCAR_ENDPOINT"] = cluster.oscar_endpoint
        found[f"{prefix}_STORE_ENDPOINT"] = cluster.store_endpoint
        found[f"{prefix}_NODES"] = " ".join(node.host for node in cluster.nodes)
    for component in manifest.components:
        prefix = "COMPONENT_" + _name(component.name)
        found[f"{prefix}_ENDPOINT"] = component.service_endpoint
        found[f"{prefix}_CLUSTER"] = component.cluster
        found[f"{prefix}_IMAGE_DIGEST"] = component.image_digest
        found[f"{prefix}_INPUTS"] = " ".join(f"{p.store}/{p.path}" for p in component.inputs)
        found[f"{prefix}_OUTPUTS"] = " ".join(f"{p.store}/{p.path}" for p in component.outputs)
    return found


def _name(text: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")
