"""Objects as tables, as kubectl shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from k3s_standin.kinds import WORKLOADS, wanted_replicas
from k3s_standin.machine import now


def render_nodes(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Nodes as the server prints them for kubectl."""
    columns = [
        ("Name", 0), ("Status", 0), ("Roles", 0), ("Age", 0), ("Version", 0), ("Internal-IP", 1), ("External-IP", 1),
        ("OS-Image", 1), ("Kernel-Version", 1), ("Container-Runtime", 1),
    ]  # fmt: skip
    rows = []
    for node in nodes:
        prefix = "node-role.kubernetes.io/"
        roles = sorted(label.removeprefix(prefix) for label in node["metadata"]["labels"] if label.startswith(prefix))
        ready = "Ready" if node["status"]["conditions"][0]["status"] == "True" else "NotReady"
        details = node["status"]["nodeInfo"]
        rows.append([
            node["metadata"]["name"], ready + (",SchedulingDisabled" if node["spec"].get("unschedulable") else ""),
            ",".join(roles) or "<none>", age(node["metadata"]["creationTimestamp"]), details["kubeletVersion"],
            node["status"]["addresses"][0]["address"], "<none>", details["osImage"], details["kernelVersion"],
            details["containerRuntimeVersion"],
        ])  # fmt: skip
    return render_table(columns, rows, nodes)


def render_objects(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Any other objects, by name, state and age."""
    columns = [("Name", 0), ("Ready", 0), ("Status", 0), ("Age", 0)]
    rows = [
        [v["metadata"]["name"], readiness(v), state_word(v), age(v["metadata"].get("creationTimestamp", now()))]
        for v in values
    ]
    return render_table(columns, rows, values)


def readiness(value: dict[str, Any]) -> str:
    """How much of an object is ready, as kubectl shows it."""
    status = value.get("status", {})
    if value["kind"] == "Pod":
        states = status.get("containerStatuses", [])
        return f"{sum(s['ready'] for s in states)}/{len(states)}"
    if value["kind"] == "Job":
        return f"{status.get('succeeded', 0)}/1"
    if value["kind"] == "DaemonSet":
        return f"{status.get('numberReady', 0)}/{status.get('desiredNumberScheduled', 0)}"
    return f"{status.get('readyReplicas', 0)}/{wanted_replicas(value)}" if value["kind"] in WORKLOADS else ""


def state_word(value: dict[str, Any]) -> str:
    """One word on an object, as kubectl shows it."""
    status = value.get("status", {})
    states = [s["state"] for s in status.get("containerStatuses", [])]
    waiting = [s["waiting"]["reason"] for s in states if "waiting" in s]
    return str(waiting[0] if waiting else status.get("phase", ""))


def render_table(columns: list[tuple[str, int]], rows: list[list[str]], values: list[dict[str, Any]]) -> dict[str, Any]:
    """The API's form of a table."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "columnDefinitions": [
            {"name": n, "type": "string", "format": "name" if n == "Name" else "", "description": n, "priority": p}
            for n, p in columns
        ],
        "rows": [
            {
                "cells": cells,
                "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
                },
            }
            for cells, value in zip(rows, values, strict=True)
        ],
    }  # fmt: skip


def age(created: str) -> str:
    """Time since ``created`` as kubectl shows it."""
    begun = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    seconds = max(0, int((datetime.now(UTC) - begun).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
