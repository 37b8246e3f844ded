"""Taints of nodes, and which pods may go there all the same."""

from __future__ import annotations

from typing import Any

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def parse_taint(text: str) -> dict[str, str]:
    """``key=value:effect``."""
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect} if value else {"key": key, "effect": effect}


def tolerates(pod: dict[str, Any], taint: dict[str, str]) -> bool:
    """Whether a pod may go to a node with a taint."""
    return any(
        (not t.get("key") or t["key"] == taint["key"])
        and (t.get("operator") == "Exists" or t.get("value", "") == taint.get("value", ""))
        and t.get("effect") in {None, "", taint["effect"]}
        for t in pod.get("tolerations") or []
    )
