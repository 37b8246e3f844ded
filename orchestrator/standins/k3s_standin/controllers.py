"""What Kubernetes's controllers and its scheduler do all the time."""

from __future__ import annotations

import secrets
import time
from typing import Any

from k3s_standin.cluster import Cluster
from k3s_standin.kinds import WORKLOADS, object_key, wanted_replicas
from k3s_standin.machine import now
from k3s_standin.metadata import new_uid, owner_reference, owns
from k3s_standin.taints import UNSCHEDULABLE, tolerates
from k3s_standin.workloads import object_fault


class Controllers:
    """Makes, places and removes the pods that workloads ask for, and the jobs of charts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def _state(self) -> dict[str, Any]:
        return self._cluster.store.state

    def tick(self) -> None:
        """Do once what controllers and the scheduler do all the time."""
        with self._cluster.store.lock:
            changed = False
            for value in list(self._state["objects"].values()):
                if value["kind"] == "HelmChart":
                    changed |= self._tend_chart(value)
            for value in list(self._state["objects"].values()):
                if value["kind"] in WORKLOADS:
                    changed |= self._tend_pods(value)
            if changed:
                self._cluster.store.save()

    def _tend_chart(self, chart: dict[str, Any]) -> bool:
        name, namespace = f"helm-install-{chart['metadata']['name']}", chart["metadata"]["namespace"]
        key = object_key(self._cluster.find_kind("batch/v1", "Job"), namespace, name)
        known = self._state["objects"].get(key)
        if known and known["standin"]["of"] == chart["metadata"]["generation"]:
            return False
        if known:
            del self._state["objects"][key]
            self._cluster.collect(known)
        pod = {"containers": [{"name": "helm", "image": "rancher/klipper-helm:standin"}]}
        self._state["objects"][key] = {
            "apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 1000, "template": {"spec": pod}},
            "metadata": {
                "name": name, "namespace": namespace, "uid": new_uid(), "creationTimestamp": now(), "generation": 1,
                "labels": {"helmcharts.helm.cattle.io/chart": chart["metadata"]["name"]},
                "ownerReferences": [owner_reference(chart)],
            },
            "standin": {"changed": time.time(), "of": chart["metadata"]["generation"]},
        }  # fmt: skip
        return True

    def _tend_pods(self, owner: dict[str, Any]) -> bool:
        objects, generation = self._state["objects"], owner["metadata"]["generation"]
        pods = {k: p for k, p in objects.items() if p["kind"] == "Pod" and owns(owner, p)}
        stale = [k for k, p in pods.items() if p["standin"]["of"] != generation]
        for key in stale:
            del objects[key]
            del pods[key]
        if owner["kind"] == "DaemonSet":
            wanted = {node: node for node in self._places(owner, daemon=True)}
            there = {p["spec"]["nodeName"]: k for k, p in pods.items()}
            surplus = [k for node, k in there.items() if node not in wanted]
            missing = [node for node in wanted if node not in there]
        else:
            surplus = sorted(pods)[wanted_replicas(owner) :]
            missing = [""] * (wanted_replicas(owner) - len(pods))
        for key in surplus:
            del objects[key]
        for node in missing:
            self._make_pod(owner, node, len(pods))
        moved = self._place_pending(owner)
        return bool(stale or surplus or missing or moved)

    def _make_pod(self, owner: dict[str, Any], node: str, number: int) -> None:
        details, template = owner["metadata"], owner.get("spec", {}).get("template", {})
        end = str(number) if owner["kind"] == "StatefulSet" else secrets.token_hex(3)[:5]
        name = f"{details['name']}-{end}"
        spec = {**template.get("spec", {}), **({"nodeName": node} if node else {})}
        self._state["objects"][object_key(self._cluster.find_kind("v1", "Pod"), details["namespace"], name)] = {
            "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {
                "name": name, "namespace": details["namespace"], "uid": new_uid(), "creationTimestamp": now(),
                "labels": template.get("metadata", {}).get("labels", {}), "ownerReferences": [owner_reference(owner)],
            },
            "standin": {"changed": time.time(), "of": details["generation"]},
        }  # fmt: skip

    def _place_pending(self, owner: dict[str, Any]) -> bool:
        pending = [
            p
            for p in self._state["objects"].values()
            if p["kind"] == "Pod" and owns(owner, p) and not p["spec"].get("nodeName")
        ]
        if not pending:
            return False
        places = self._places(owner)
        fault = object_fault(owner)
        if fault.get("reason") == "FailedScheduling":
            places = []
        for number, pod in enumerate(pending):
            if places:
                pod["spec"]["nodeName"] = places[number % len(places)]
                pod["standin"]["changed"] = time.time()
            else:
                total = len(self._state["nodes"])
                self._cluster.note_event(
                    pod,
                    "FailedScheduling",
                    fault.get("message") or f"0/{total} nodes are available: {total} node(s) were unschedulable.",
                )
        return bool(places)

    def _places(self, owner: dict[str, Any], *, daemon: bool = False) -> list[str]:
        """Nodes that a pod may go to."""
        pod = owner.get("spec", {}).get("template", {}).get("spec", {})
        found = []
        for node in self._cluster.nodes.all():
            selected = all(node["metadata"]["labels"].get(k) == v for k, v in (pod.get("nodeSelector") or {}).items())
            taints = [t for t in node["spec"].get("taints", []) if t["effect"] != "PreferNoSchedule"]
            if daemon:
                taints = [t for t in taints if t["key"] != UNSCHEDULABLE["key"]]
            ready = node["status"]["conditions"][0]["status"] == "True"
            if selected and all(tolerates(pod, taint) for taint in taints) and (ready or daemon):
                found.append(node["metadata"]["name"])
        return found
