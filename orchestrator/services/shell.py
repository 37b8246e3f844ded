"""The ssh command for a machine of a deployment, with its key and pinned host key."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.executors.compute import ssh_key_file
from orchestrator.remote.ssh import SshTarget, known_hosts_line, openssh_command
from orchestrator.services.deployment import OpenDeployment
from orchestrator.state.model import InstanceRecord


def shell_command(opened: OpenDeployment, node: str, command: Sequence[str]) -> list[str]:
    """Argument list of OpenSSH's client.

    Args:
        opened: The deployment.
        node: Address (``edge-raspi[0]``) or hostname of a machine.
        command: What to run; empty for a shell.

    Raises:
        UsageError: If no machine goes by that name.
    """
    machines = [r for r in opened.state.instances.values() if "host_key" in r.attributes] if opened.state else []
    record = next((m for m in machines if node in (m.address, m.attributes.get("hostname"))), None)
    if record is None:
        raise UsageError(
            "No such machine.",
            detail=f"{opened.name} has no machine {node!r}; it has: "
            f"{', '.join(m.address for m in machines) or 'none'}.",
            resolution="Name one of them.",
        )
    known_hosts = opened.folder / "ssh" / "known_hosts"
    target = _target(opened, record)
    temporary = known_hosts.with_suffix(f".{os.getpid()}")
    temporary.write_text("".join(known_hosts_line(_target(opened, m)) for m in machines), encoding="utf-8")
    temporary.replace(known_hosts)
    return openssh_command(target, known_hosts, list(command) or None)


def _target(opened: OpenDeployment, record: InstanceRecord) -> SshTarget:
    attributes = record.attributes
    return SshTarget(
        str(attributes["host"]),
        int(str(attributes["port"])),
        str(attributes["user"]),
        ssh_key_file(opened.folder),
        str(attributes["host_key"]),
    )
