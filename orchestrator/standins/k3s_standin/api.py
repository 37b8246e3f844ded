"""The part of Kubernetes's API that there is."""

from __future__ import annotations

import json
import platform
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.parse import unquote as unquote_url

from k3s_standin.cluster import Cluster
from k3s_standin.kinds import ApiError, Kind
from k3s_standin.machine import faults
from k3s_standin.process import VERSION
from k3s_standin.store import QuorumError
from k3s_standin.tables import render_nodes, render_objects


def status_object(code: int, reason: str, message: str) -> dict[str, Any]:
    """Kubernetes's form of an answer without an object."""
    outcome = "Success" if code < 400 else "Failure"
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, "message": message, "reason": reason,
        "code": code,
    }  # fmt: skip


def resource_list(version: str, kinds: list[Kind]) -> dict[str, Any]:
    """The kinds of a group and version."""
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    listed = [
        {"name": k.plural, "singularName": k.name.lower(), "namespaced": k.namespaced, "kind": k.name, "verbs": verbs,
         "shortNames": list(k.short)}
        for k in kinds
    ]  # fmt: skip
    if version == "v1":
        listed.append({
            "name": "pods/eviction", "singularName": "", "namespaced": True, "kind": "Eviction", "group": "policy",
            "version": "v1", "verbs": ["create"],
        })  # fmt: skip
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


def discovery(path: str, kinds: list[Kind]) -> dict[str, Any]:
    """Which groups and versions there are."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = []
    for group_version in dict.fromkeys(kind.version for kind in kinds if "/" in kind.version):
        group, _, version = group_version.partition("/")
        entry = {"groupVersion": group_version, "version": version}
        groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def matches(item: dict[str, Any], query: dict[str, list[str]]) -> bool:
    """Whether an object passes the label and field selectors of a list call (equality and existence only)."""
    labels = item["metadata"].get("labels", {})
    for term in filter(None, ",".join(query.get("labelSelector", [])).split(",")):
        key, sign, value = term.replace("==", "=").partition("=")
        if key.endswith("!"):
            if labels.get(key[:-1]) == value:
                return False
        elif key not in labels or (sign and labels[key] != value):
            return False
    for term in filter(None, ",".join(query.get("fieldSelector", [])).split(",")):
        key, _, value = term.replace("==", "=").partition("=")
        place: Any = item
        for part in key.split("."):
            place = place.get(part, {}) if isinstance(place, dict) else {}
        if (place or "") != value:
            return False
    return True


class Api:
    """Answers requests from what the cluster knows."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def answer(self, method: str, target: str, accept: str, body: str) -> tuple[int, Any]:
        """Status and JSON value or text for a request of somebody known."""
        parts = urlsplit(target)
        try:
            self.cluster.store.need_quorum()
            if method == "GET":
                return self._get(parts.path, parse_qs(parts.query), accept)
            return self._change(method, parts.path, json.loads(body) if body else {})
        except ApiError as reason:
            return reason.code, status_object(reason.code, reason.reason, str(reason))
        except QuorumError as reason:
            return 500, status_object(500, "InternalError", str(reason))
        except ValueError as reason:
            return 400, status_object(400, "BadRequest", f"the object provided is unrecognized: {reason}")

    def _get(self, path: str, query: dict[str, list[str]], accept: str) -> tuple[int, Any]:
        kinds = self.cluster.kinds()
        if path == "/version":
            return 200, {
                "major": "1", "minor": "31", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": f"linux/{platform.machine()}",
            }  # fmt: skip
        if path in {"/api", "/apis"}:
            return 200, discovery(path, kinds)
        of_group = [kind for kind in kinds if kind.prefix == path]
        if of_group:
            return 200, resource_list(of_group[0].version, of_group)
        kind, namespace, name, _ = self._find(path)
        if query.get("watch", ["false"])[0] in {"1", "true"}:
            return 405, status_object(405, "MethodNotAllowed", "the stand-in for K3s does not watch")
        as_table = "as=Table" in accept
        if name:
            found = self.cluster.read(kind, namespace, name)
            return 200, self._render(kind, [found]) if as_table else found
        values = [item for item in self.cluster.objects(kind, namespace) if matches(item, query)]
        listing = {"kind": f"{kind.name}List", "apiVersion": kind.version, "metadata": {"resourceVersion": "1"}}
        return 200, self._render(kind, values) if as_table else {**listing, "items": values}

    @staticmethod
    def _render(kind: Kind, values: list[dict[str, Any]]) -> dict[str, Any]:
        return render_nodes(values) if kind.name == "Node" else render_objects(values)

    def _find(self, path: str) -> tuple[Kind, str, str, str]:
        """Kind, namespace, name and what comes after it of an object's path."""
        for kind in self.cluster.kinds():
            place = rf"{re.escape(kind.prefix)}(?:/namespaces/([^/]+)(?=/))?/{kind.plural}"
            match = re.fullmatch(place + r"(?:/([^/]+))?(?:/(eviction|status))?", path)
            if match and (kind.namespaced or not match.group(1)):
                return kind, match.group(1) or "", unquote_url(match.group(2) or ""), match.group(3) or ""
        raise ApiError(404, "NotFound", "the server could not find the requested resource")

    def _change(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        kind, namespace, name, part = self._find(path)
        if part == "eviction":
            return self._evict(kind, namespace, name)
        if method == "DELETE" and name:
            self.cluster.delete(kind, namespace, name)
            return 200, status_object(200, "", "")
        if method == "PATCH" and name:
            return 200, self.cluster.patch(kind, namespace, name, body)
        if method == "POST" and not name:
            return 201, self.cluster.put(body, namespace or "default", create=True)[0]
        if method == "PUT" and name:
            return 200, self.cluster.put(body, namespace or "default")[0]
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _evict(self, kind: Kind, namespace: str, name: str) -> tuple[int, Any]:
        if faults().get("drain_blocked"):
            raise ApiError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        self.cluster.delete(kind, namespace, name)
        return 201, status_object(201, "", "")
