"""The file by which a cluster is reached: fetched by a play, kept with the secrets, written anew on other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.executors.base import OperationRequest
from orchestrator.state.durable_file import make_folder, read_if_there, replace_file
from orchestrator.state.secrets import KUBECONFIG, SecretKind
from orchestrator.topology.model import Value


def keep_kubeconfig(request: OperationRequest, attributes: Mapping[str, Value]) -> None:
    """Keep what a play fetched, if it did, so that another host with the same secrets has it as well."""
    path = _path(request, attributes)
    content = read_if_there(path) if path else None
    if content is not None:
        request.secrets.put(_name(request), content.decode("utf-8", "replace"), SecretKind.FETCHED)


def kubeconfig_file(request: OperationRequest) -> Path | None:
    """Where the instance's file is, open to its owner only; written if this host has none, or an older one.

    Returns:
        ``None`` if the instance has none.
    """
    path = _path(request, request.record.attributes)
    if path is None:
        return None
    kept = request.secrets.get(_name(request))
    if kept is not None and read_if_there(path) != kept.encode():
        make_folder(path.parent)
        replace_file(path, kept.encode())
    return path


def _path(request: OperationRequest, attributes: Mapping[str, Value]) -> Path | None:
    relative = attributes.get("kubeconfig")
    return request.folders.deployment / relative if isinstance(relative, str) else None


def _name(request: OperationRequest) -> str:
    return KUBECONFIG + request.record.address
