"""What the leading server decides on."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

from k3s_standin.kinds import BUILT_IN, NAMESPACES, WORKLOADS, ApiError, Kind, group_plural, object_key
from k3s_standin.machine import now
from k3s_standin.metadata import metadata, new_uid, owns
from k3s_standin.node_list import NodeList
from k3s_standin.patches import json_patch, merge_patch
from k3s_standin.store import Store
from k3s_standin.workloads import pod_status, workload_status


class Cluster:
    """What the leading server decides on: nodes, and objects of all kinds with their status as of now."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.nodes = NodeList(store)

    @property
    def _state(self) -> dict[str, Any]:
        return self.store.state

    def kinds(self) -> list[Kind]:
        """Kinds that there are, those of custom resource definitions included."""
        found = list(BUILT_IN)
        for value in self._state["objects"].values():
            if value["kind"] != "CustomResourceDefinition":
                continue
            spec = value["spec"]
            served = [v["name"] for v in spec.get("versions", []) if v.get("served", True)]
            names = spec["names"]
            found += [
                Kind(
                    f"{spec['group']}/{version}", names["plural"], names["kind"],
                    namespaced=spec.get("scope") == "Namespaced", short=tuple(names.get("shortNames", ())),
                )
                for version in served
            ]  # fmt: skip
        return found

    def find_kind(self, version: str, name: str) -> Kind:
        """The kind that a manifest names."""
        for kind in self.kinds():
            if (kind.version, kind.name) == (version, name):
                return kind
        raise ApiError(404, "NotFound", f'no matches for kind "{name}" in version "{version}"')

    def objects(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        """Every object of a kind, with its status as of now."""
        if kind.name == "Node":
            return self.nodes.all()
        with self.store.lock:
            found = [
                self._with_status(value)
                for key, value in sorted(self._state["objects"].items())
                if key.startswith(f"{kind.version}|{kind.plural}|{namespace}{'|' if namespace else ''}")
            ]
            if kind.name == "Namespace":
                made = {value["metadata"]["name"] for value in found}
                found += [
                    {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": n, "creationTimestamp": now()},
                     "status": {"phase": "Active"}}
                    for n in NAMESPACES if n not in made
                ]  # fmt: skip
            if kind.name == "Secret" and namespace in {"", "kube-system"}:
                found += [
                    {"kind": "Secret", "apiVersion": "v1", "type": "Opaque",
                     "metadata": metadata(f"{name}.node-password.k3s")}
                    for name in sorted(self._state["passwords"])
                ]  # fmt: skip
        return found

    def read(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """One object."""
        for value in self.objects(kind, namespace if kind.namespaced else ""):
            if value["metadata"]["name"] == name:
                return value
        raise ApiError(404, "NotFound", f'{group_plural(kind)} "{name}" not found')

    def put(
        self, value: dict[str, Any], namespace: str = "default", *, create: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """Make an object or give it another content; the object, and whether anything changed."""
        kind = self.find_kind(str(value.get("apiVersion", "")), str(value.get("kind", "")))
        details = dict(value.get("metadata") or {})
        name = details.get("name")
        if not name:
            raise ApiError(
                422,
                "Invalid",
                f'{kind.name} "" is invalid: metadata.name: Required value: name or generateName is required',
            )
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?", str(name)):
            raise ApiError(
                422,
                "Invalid",
                f'{kind.name} "{name}" is invalid: metadata.name: Invalid value: "{name}": a lowercase RFC 1123 '
                "subdomain must consist of lower case alphanumeric characters, '-' or '.'",
            )
        namespace = (details.get("namespace") or namespace) if kind.namespaced else ""
        with self.store.lock:
            if namespace and namespace not in {n["metadata"]["name"] for n in self.objects(BUILT_IN[1], "")}:
                raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
            key = object_key(kind, namespace, name)
            known = self._state["objects"].get(key)
            if known and create:
                raise ApiError(409, "AlreadyExists", f'{group_plural(kind)} "{name}" already exists')
            content = {k: v for k, v in value.items() if k not in {"metadata", "status"}}
            kept = {k: v for k, v in details.items() if k in {"labels", "annotations", "ownerReferences", "finalizers"}}
            before = {k: v for k, v in (known or {}).items() if k not in {"metadata", "standin"}}
            unchanged = known and before == content and all(known["metadata"].get(k) == v for k, v in kept.items())
            if known and unchanged:
                return known, False
            fresh: dict[str, Any] = {"uid": new_uid(), "creationTimestamp": now(), "generation": 0}
            made: dict[str, Any] = known["metadata"] if known else fresh
            generation = int(made["generation"]) + (0 if known and before == content else 1)
            metadata_now = {**made, **kept, "name": name, "generation": generation}
            if namespace:
                metadata_now["namespace"] = namespace
            metadata_now["resourceVersion"] = str(int(self._state["version"]) + 1)
            self._state["objects"][key] = {**content, "metadata": metadata_now, "standin": {"changed": time.time()}}
            self.store.save()
            return self._state["objects"][key], True

    def patch(self, kind: Kind, namespace: str, name: str, body: Any) -> dict[str, Any]:
        """Change an object by a merge patch or a list of operations."""
        with self.store.lock:
            old = self.read(kind, namespace, name)
            new = json_patch(old, body) if isinstance(body, list) else merge_patch(old, body)
            if kind.name == "Node":
                self.nodes.change(name, new)
            else:
                self.put({k: v for k, v in new.items() if k != "standin"}, namespace)
            return self.read(kind, namespace, name)

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Take an object away, and what it owns."""
        with self.store.lock:
            if kind.name == "Node" and name in self._state["nodes"]:
                self.nodes.delete(name)
                return
            if kind.name == "Secret" and self._state["passwords"].pop(name.removesuffix(".node-password.k3s"), None):
                self.store.save()
                return
            gone = self._state["objects"].pop(object_key(kind, namespace, name), None)
            if gone is None:
                raise ApiError(404, "NotFound", f'{group_plural(kind)} "{name}" not found')
            self.collect(gone)
            self.store.save()

    def collect(self, gone: dict[str, Any]) -> None:
        """Take away what an object owned: pods of workloads, everything in a namespace, resources of a definition."""
        objects = self._state["objects"]
        for key, value in list(objects.items()):
            owners = {o["uid"] for o in value["metadata"].get("ownerReferences", [])}
            inside = gone["kind"] == "Namespace" and value["metadata"].get("namespace") == gone["metadata"]["name"]
            defined = gone["kind"] == "CustomResourceDefinition" and (
                value["kind"], value["apiVersion"].partition("/")[0]
            ) == (gone["spec"]["names"]["kind"], gone["spec"]["group"])  # fmt: skip
            about = value["kind"] == "Event" and value["involvedObject"].get("uid") == gone["metadata"]["uid"]
            concerned = gone["metadata"]["uid"] in owners or inside or defined or about
            if concerned and objects.pop(key, None):
                self.collect(value)

    def note_event(self, about: dict[str, Any], reason: str, message: str, kind: str = "Warning") -> None:
        """An Event, or one more of it; the caller saves."""
        details = about["metadata"]
        namespace = details.get("namespace", "default")
        name = f"{details['name']}.{hashlib.sha256((reason + message + details['uid']).encode()).hexdigest()[:16]}"
        key = object_key(self.find_kind("v1", "Event"), namespace, name)
        known = self._state["objects"].get(key)
        if known:
            return
        involved = {
            "kind": about["kind"],
            "name": details["name"],
            "namespace": namespace,
            "uid": details["uid"],
            "apiVersion": about["apiVersion"],
        }
        self._state["objects"][key] = {
            "apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now(), "lastTimestamp": now(), "involvedObject": involved,
            "source": {"component": "k3s-standin"},
            "metadata": {"name": name, "namespace": namespace, "uid": new_uid(), "creationTimestamp": now()},
        }  # fmt: skip

    def _with_status(self, value: dict[str, Any]) -> dict[str, Any]:
        kind = value["kind"]
        shown = {k: v for k, v in value.items() if k != "standin"}
        if kind == "Pod":
            shown["status"] = pod_status(value, self._owner_of(value))
        elif kind in WORKLOADS:
            pods = [p for p in self._state["objects"].values() if p["kind"] == "Pod" and owns(value, p)]
            shown["status"] = workload_status(value, [pod_status(p, value) for p in pods])
        elif kind == "HelmChart":
            shown["status"] = {"jobName": f"helm-install-{value['metadata']['name']}"}
        elif kind == "Namespace":
            shown["status"] = {"phase": "Active"}
        return shown

    def _owner_of(self, pod: dict[str, Any]) -> dict[str, Any]:
        return next((v for v in self._state["objects"].values() if owns(v, pod)), {})
