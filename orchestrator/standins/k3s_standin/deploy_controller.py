"""K3s's deploy controller, which applies the files of a server's folder of manifests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from pathlib import Path
from typing import Any

from k3s_standin.cluster import Cluster
from k3s_standin.kinds import OWNER, ApiError
from k3s_standin.manifests import in_order, parse_manifest
from k3s_standin.process import log
from k3s_standin.scalars import YamlError


class Manifests:
    """Applies the files of one server's ``manifests`` folder as K3s's deploy controller does.

    A file is applied when its checksum is another than its Addon's, every file again when the server starts; objects
    that are no longer in a file are deleted; a file that is taken away changes nothing; ``NAME.skip`` makes it ignored.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._force = True

    def apply(self, cluster: Cluster, files: list[dict[str, Any]]) -> bool:
        """Look at every file once; whether all went well."""
        clean = True
        for file in files:
            path = Path(file["path"])
            if file["disabled"]:
                self._disable(cluster, path)
                continue
            if not self._force and self._times.get(file["path"]) == file["changed"]:
                continue
            try:
                self._deploy(cluster, path, base64.b64decode(file["content"]))
                self._times[file["path"]] = file["changed"]
            except (ApiError, YamlError) as reason:
                clean = False
                log("error", f"Failed to process config: failed to process {path}: {reason}")
        self._force = self._force and not clean
        return clean

    def _addon(self, cluster: Cluster, path: Path) -> dict[str, Any]:
        name = path.name.split(".")[0]
        kind = cluster.find_kind("k3s.cattle.io/v1", "Addon")
        try:
            return cluster.read(kind, "kube-system", name)
        except ApiError:
            made = {"apiVersion": kind.version, "kind": kind.name, "metadata": {"name": name}}
            return cluster.put({**made, "spec": {"source": str(path)}}, "kube-system")[0]

    def _deploy(self, cluster: Cluster, path: Path, content: bytes) -> None:
        addon = self._addon(cluster, path)
        digest = hashlib.sha256(content).hexdigest()
        if not self._force and addon["spec"].get("checksum") == digest:
            return
        try:
            values = parse_manifest(content.decode())
        except (YamlError, UnicodeDecodeError) as reason:
            self._note(cluster, addon, "ParseManifestFailed", f'Parse manifest at "{path}" failed: {reason}')
            raise YamlError(str(reason)) from reason
        log("info", f"Applying manifest at {path}")
        name = addon["metadata"]["name"]
        try:
            kept = {self._put(cluster, name, value) for value in in_order(values)}
        except ApiError as reason:
            self._note(cluster, addon, "ApplyManifestFailed", f'Applying manifest at "{path}" failed: {reason}')
            raise
        prune(cluster, name, kept)
        done = {"apiVersion": addon["apiVersion"], "kind": "Addon", "metadata": {"name": name}}
        cluster.put({**done, "spec": {"source": str(path), "checksum": digest}}, "kube-system")
        self._note(cluster, addon, "AppliedManifest", f'Applied manifest at "{path}"', "Normal")

    def _note(self, cluster: Cluster, addon: dict[str, Any], reason: str, message: str, kind: str = "Warning") -> None:
        with cluster.store.lock:
            cluster.note_event(addon, reason, message, kind)
            cluster.store.save()

    def _put(self, cluster: Cluster, addon: str, value: dict[str, Any]) -> str:
        details = value.get("metadata") or {}
        marked = {
            **details,
            "labels": {**(details.get("labels") or {})},
            "annotations": {**(details.get("annotations") or {}), OWNER: addon},
        }
        return str(cluster.put({**value, "metadata": marked})[0]["metadata"]["uid"])

    def _disable(self, cluster: Cluster, path: Path) -> None:
        """What ``disable`` names is deleted, file and all."""
        name = path.name.split(".")[0]
        prune(cluster, name, set())
        with contextlib.suppress(ApiError):
            cluster.delete(cluster.find_kind("k3s.cattle.io/v1", "Addon"), "kube-system", name)


def prune(cluster: Cluster, addon: str, kept: set[str]) -> None:
    """Delete what an Addon brought and no longer brings."""
    with cluster.store.lock:
        values = [
            v for v in cluster.store.state["objects"].values()
            if v["metadata"].get("annotations", {}).get(OWNER) == addon and v["metadata"]["uid"] not in kept
        ]  # fmt: skip
        for value in values:
            with contextlib.suppress(ApiError):
                kind = cluster.find_kind(value["apiVersion"], value["kind"])
                cluster.delete(kind, value["metadata"].get("namespace", ""), value["metadata"]["name"])
