"""The nodes of a cluster, their passwords, and the servers that are members of it."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any

from k3s_standin.kinds import ApiError
from k3s_standin.machine import faults, now
from k3s_standin.metadata import new_uid
from k3s_standin.nodes import build_node, default_labels, node_annotations
from k3s_standin.store import Store
from k3s_standin.taints import UNSCHEDULABLE, parse_taint

DUPLICATE = "duplicate node name found, please use a unique name for this node"


class NodeList:
    """The nodes that the leading server knows, and when each was heard last."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seen: dict[str, float] = {}
        self._heard_since = time.monotonic()

    @property
    def _state(self) -> dict[str, Any]:
        return self.store.state

    def check_password(self, name: str, password: str) -> bool:
        """Whether ``name`` may be used: the first password seen for a name is the one that counts."""
        with self.store.lock:
            known = self._state["passwords"].get(name)
            if known:
                salt, _, digest = known.partition(":")
                return secrets.compare_digest(hashlib.sha256((salt + password).encode()).hexdigest(), digest)
            salt = secrets.token_hex(8)
            self._state["passwords"][name] = f"{salt}:{hashlib.sha256((salt + password).encode()).hexdigest()}"
            self.store.save()
            return True

    def heartbeat(self, facts: dict[str, Any], *, register: bool) -> bool:
        """Note that a node lives; ``register`` makes its object, without it a deleted node stays away.

        Labels and taints of the configuration count when the node is made, and never again, as with K3s.
        """
        name = facts["name"]
        with self.store.lock:
            known = self._state["nodes"].get(name)
            if known is None and not register:
                return False
            self._seen[name] = time.monotonic()
            if known is None:
                self._state["nodes"][name] = {
                    "uid": new_uid(), "created": now(), "facts": facts, "annotations": node_annotations(facts),
                    "labels": {**default_labels(facts), **dict(e.partition("=")[::2] for e in facts["labels"])},
                    "taints": [parse_taint(entry) for entry in facts["taints"]], "unschedulable": False,
                }  # fmt: skip
            elif known["facts"] != facts:
                known["facts"] = facts
                known["labels"].update(default_labels(facts))
                known["annotations"].update(node_annotations(facts))
            else:
                return True
            self.store.save()
        return True

    def all(self) -> list[dict[str, Any]]:
        """Every Node object, with the conditions as of now, by name."""
        grace = float(faults().get("grace_period", 5))
        with self.store.lock:
            return [self._with_conditions(name, entry, grace) for name, entry in sorted(self._state["nodes"].items())]

    def _with_conditions(self, name: str, entry: dict[str, Any], grace: float) -> dict[str, Any]:
        node = build_node(entry)
        silent = time.monotonic() - self._seen.get(name, self._heard_since) > grace
        facts = entry["facts"]
        status, reason, message = "True", "KubeletReady", "kubelet is posting ready status"
        if silent:
            status, reason, message = "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."
        elif not facts["ready"]:
            status, reason, message = "False", "KubeletNotReady", facts["reason"]
        node["metadata"]["resourceVersion"] = str(self._state["version"])
        node["status"]["conditions"] = [
            {"type": "Ready", "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now()}
        ]
        return node

    def begin_term(self) -> None:
        """Give every node its time to report anew, once this server decides."""
        self._heard_since = time.monotonic()
        self._seen = {}

    def change(self, name: str, node: dict[str, Any]) -> None:
        """Give a node the labels, annotations, taints and the cordon that are asked for."""
        entry = self._state["nodes"][name]
        taints = [t for t in node["spec"].get("taints") or [] if t["key"] != UNSCHEDULABLE["key"]]
        entry.update(
            labels=node["metadata"].get("labels", {}), annotations=node["metadata"].get("annotations", {}),
            taints=taints, unschedulable=bool(node["spec"].get("unschedulable")),
        )  # fmt: skip
        self.store.save()

    def delete(self, name: str) -> None:
        """Forget a node, and what ran there."""
        entry = self._state["nodes"].pop(name)
        # K3s forgets the password, and takes the member out of etcd, with the node.
        self._state["passwords"].pop(name, None)
        for key, pod in list(self._state["objects"].items()):
            if pod["kind"] == "Pod" and pod["spec"].get("nodeName") == entry["facts"]["name"]:
                del self._state["objects"][key]
        if len(self.store.members) > 1:
            self.store.members.pop(name, None)
        self.store.save()

    def add_member(self, name: str, url: str, settings: dict[str, str]) -> None:
        """Let a server in."""
        with self.store.lock:
            if not self.store.members:
                raise ApiError(
                    400, "BadRequest", "this server does not use embedded etcd: it was not started with cluster-init"
                )
            differing = sorted(k for k, v in self._state["settings"].items() if settings.get(k, v) != v)
            if differing:
                raise ApiError(
                    409, "Conflict", f"critical configuration value mismatch between servers: {', '.join(differing)}"
                )
            if name in self.store.members and self.store.members[name]["url"] != url:
                raise ApiError(409, "Conflict", DUPLICATE)
            if name in self.store.members or name in self._state["nodes"]:
                raise ApiError(409, "Conflict", DUPLICATE)
            self.store.members[name] = {"url": url, "joined": now(), "learner": "true"}
            self.store.save()
