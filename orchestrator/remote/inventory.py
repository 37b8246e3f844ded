"""Renders the inventory that a play runs over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class InventoryHost:
    """One machine as Ansible sees it.

    Attributes:
        name: Inventory host name: the machine's hostname.
        host: Address that SSH connects to.
        port: Port of SSH.
        user: Login name.
        key_file: Private key; ``None`` for the one that all machines of the run have.
        address: Node instance, e.g. ``edge-raspi[0]``.
        architecture: ``amd64`` or ``arm64``.
        inside: Address by which the machines of a cluster reach each other, where it is not ``host``.
        labels: Labels of the machine in Kubernetes, beside those of every machine of its cluster.
    """

    name: str
    host: str
    port: int
    user: str
    key_file: Path | None
    address: str
    architecture: str = ""
    inside: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str | int | dict[str, str]]:
        """Host variables."""
        own_key = {"ansible_ssh_private_key_file": str(self.key_file)} if self.key_file else {}
        return {
            "ansible_host": self.host,
            "ansible_port": self.port,
            "ansible_user": self.user,
            **own_key,
            "machine_address": self.address,
            "machine_architecture": self.architecture,
            **({"machine_inside_address": self.inside} if self.inside else {}),
            **({"k3s_host_labels": dict(self.labels)} if self.labels else {}),
        }


def render_inventory(groups: Mapping[str, Sequence[InventoryHost]]) -> str:
    """The inventory as YAML text; a group without hosts is kept, so that plays may name it.

    Args:
        groups: Group name to its hosts, in order. Each host is in one group only.
    """
    lines = ["---", "all:", "  children:"]
    for group, hosts in groups.items():
        lines += [f"    {_scalar(group)}:", "      hosts:" if hosts else "      hosts: {}"]
        for host in hosts:
            lines.append(f"        {_scalar(host.name)}:")
            lines += [f"          {key}: {_scalar(value)}" for key, value in host.variables.items()]
    return "\n".join(lines) + "\n"


def _scalar(value: str | int | dict[str, str]) -> str:
    # JSON is YAML whatever is in it; Ansible must not take part of a name for a template.
    return json.dumps(value, ensure_ascii=True)
