"""What a node says of itself, and the Node object that comes of it."""

from __future__ import annotations

import platform
from typing import Any

from k3s_standin.machine import faults, machine_architecture, rooted
from k3s_standin.options import first, node_name
from k3s_standin.process import VERSION
from k3s_standin.sockets import local_addresses
from k3s_standin.taints import UNSCHEDULABLE


def node_facts(options: dict[str, list[str]], roles: list[str]) -> dict[str, Any]:
    """What a node says of itself."""
    release = rooted("/etc/os-release")
    system = parse_release(release.read_text()).get("PRETTY_NAME", "") if release.is_file() else ""
    machine_id = rooted("/etc/machine-id")
    boot_id = rooted("/proc/sys/kernel/random/boot_id")
    broken = faults().get("not_ready", "")
    return {
        "name": node_name(options),
        "address": first(options, "node-ip") or local_addresses()[0],
        "labels": options.get("node-label", []),
        "taints": options.get("node-taint", []),
        "roles": roles,
        "ready": not broken,
        "reason": str(broken),
        "info": {
            "architecture": machine_architecture(), "operatingSystem": "linux", "osImage": system,
            "kernelVersion": platform.release(), "kubeletVersion": VERSION, "kubeProxyVersion": VERSION,
            "containerRuntimeVersion": "none://standin",
            "machineID": machine_id.read_text().strip() if machine_id.is_file() else "",
            "systemUUID": "", "bootID": boot_id.read_text().strip() if boot_id.is_file() else "",
        },
    }  # fmt: skip


def parse_release(text: str) -> dict[str, str]:
    """os-release as a mapping."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value.strip().strip('"') for key, _, value in pairs}


def default_labels(facts: dict[str, Any]) -> dict[str, str]:
    """Labels that a node keeps up to date itself."""
    labels = {
        "kubernetes.io/arch": facts["info"]["architecture"], "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": facts["name"], "node.kubernetes.io/instance-type": "k3s",
    }  # fmt: skip
    return {**labels, **{f"node-role.kubernetes.io/{role}": "true" for role in facts["roles"]}}


def node_annotations(facts: dict[str, Any]) -> dict[str, str]:
    """Annotations that K3s gives a node."""
    return {"k3s.io/hostname": facts["name"], "k3s.io/internal-ip": facts["address"]}


def build_node(entry: dict[str, Any]) -> dict[str, Any]:
    """The Node object of what is known of a node, without its conditions."""
    facts = entry["facts"]
    spec: dict[str, Any] = {"providerID": f"k3s://{facts['name']}"}
    if entry["unschedulable"]:
        spec["unschedulable"] = True
    taints = [*entry["taints"], *([UNSCHEDULABLE] if entry["unschedulable"] else [])]
    if taints:
        spec["taints"] = taints
    addresses = [("InternalIP", facts["address"]), ("Hostname", facts["name"])]
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": facts["name"], "uid": entry["uid"], "creationTimestamp": entry["created"],
            "labels": entry["labels"], "annotations": entry["annotations"],
        },
        "spec": spec,
        "status": {"addresses": [{"type": t, "address": a} for t, a in addresses], "nodeInfo": facts["info"]},
    }  # fmt: skip
