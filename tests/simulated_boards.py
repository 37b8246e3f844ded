"""Simulated Raspberry Pis of the local provider, with an inventory as a person would write it."""

from __future__ import annotations

import shlex
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import yaml

from orchestrator.clients.engine import engine_architecture
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.providers.local.provider import LocalProvider
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import wait_for_ssh
from orchestrator.remote.target import SshTarget, known_hosts_line
from orchestrator.topology.model import Value

BOARD: Mapping[str, Value] = {"firmware": "raspberry-pi"}
"""Settings of a simulated Raspberry Pi."""


@dataclass(frozen=True, slots=True)
class Boards:
    """Running machines: the first one is the server, the others are agents.

    Attributes:
        inventory: Inventory file with the groups ``server`` and ``agent``.
        names: Inventory host names.
        targets: How each is reached, in the same order.
    """

    inventory: Path
    names: Sequence[str]
    targets: Sequence[SshTarget]


@contextmanager
def simulated_boards(
    folder: Path,
    count: int,
    *,
    settings: Mapping[str, Value] = BOARD,
    memory_mb: int = 512,
    variables: Mapping[str, Value] = MappingProxyType({}),
) -> Iterator[Boards]:
    """Make machines, write ``inventory.yml`` and what it needs into ``folder``, and remove the machines in the end.

    Args:
        folder: Gets key, host keys, inventory and kubeconfig.
        count: Number of machines.
        settings: As the local provider takes them.
        memory_mb: Upper bound of each machine's memory.
        variables: Further variables of the inventory.
    """
    provider, lineage = LocalProvider(), uuid.uuid4().hex
    tag = DeploymentTag(f"boards-{lineage[:8]}", lineage)
    private, public = generate_key()
    key = folder / "id_ed25519"
    key.touch(mode=0o600)
    key.write_text(private, encoding="ascii")
    names = [f"pi-{index}" for index in range(count)]
    try:
        requests = [
            MachineRequest(
                deployment=tag,
                address=f"pi[{index}]",
                token=uuid.uuid4().hex,
                hostname=name,
                architecture=engine_architecture(),
                cpus=2,
                memory_mb=memory_mb,
                authorized_key=public,
                settings=settings,
            )
            for index, name in enumerate(names)
        ]
        targets = [_target(provider.create(request), key) for request in requests]
        for target in targets:
            wait_for_ssh(target, 60, threading.Event())
        inventory = folder / "inventory.yml"
        inventory.write_text(render_inventory(names, targets, folder, variables), encoding="utf-8")
        yield Boards(inventory, names, targets)
    finally:
        for machine in provider.find(tag):
            provider.delete(machine.id)
        provider.release(tag)
    assert provider.leftovers(tag) == []


def render_inventory(
    names: Sequence[str],
    targets: Sequence[SshTarget],
    folder: Path,
    variables: Mapping[str, Value] = MappingProxyType({}),
) -> str:
    """The inventory's text; the host keys are pinned by a file beside it."""
    known_hosts = folder / "known_hosts"
    known_hosts.write_text("".join(map(known_hosts_line, targets)), encoding="ascii")
    options = f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={shlex.quote(str(known_hosts))}"
    hosts = {
        name: {
            "ansible_host": target.host,
            "ansible_port": target.port,
            "ansible_user": target.user,
            "ansible_ssh_private_key_file": str(target.key_file),
            "ansible_ssh_common_args": options,
        }
        for name, target in zip(names, targets, strict=True)
    }
    server, agents = names[0], names[1:]
    groups = {
        "server": {"hosts": {server: hosts[server]}},
        "agent": {"hosts": {name: hosts[name] for name in agents}},
    }
    cluster = {"k3s_cluster_name": "boards", "deployment_folder": str(folder), **variables}
    return yaml.safe_dump({"all": {"vars": cluster, "children": groups}}, sort_keys=False)


def _target(machine: Machine, key: Path) -> SshTarget:
    return SshTarget(machine.host, machine.port, machine.user, key, machine.host_key)
