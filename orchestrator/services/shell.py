"""A shell on a machine of a deployment, with its key and pinned host key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.executors.ssh_key import key_file, private_key
from orchestrator.remote.target import SshTarget, known_hosts_line, openssh_command
from orchestrator.services.deployment import OpenDeployment
from orchestrator.state.masking import without_secrets
from orchestrator.state.model import InstanceRecord


def run_shell(opened: OpenDeployment, node: str, command: Sequence[str]) -> int:
    """Run OpenSSH's client on this terminal; gives its exit code.

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
    with key_file(private_key(opened.secrets, opened.folder)) as key:
        known_hosts = key.with_name("known_hosts")
        known_hosts.write_text("".join(known_hosts_line(_target(m, key)) for m in machines), encoding="utf-8")
        arguments = openssh_command(_target(record, key), known_hosts, list(command) or None)
        environment = without_secrets(os.environ, opened.secrets.values())
        return subprocess.run(arguments, env=environment, check=False).returncode


def _target(record: InstanceRecord, key: Path) -> SshTarget:
    attributes = record.attributes
    return SshTarget(
        str(attributes["host"]),
        int(str(attributes["port"])),
        str(attributes["user"]),
        key,
        str(attributes["host_key"]),
    )
