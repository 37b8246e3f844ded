"""A shell on a machine of a deployment, with its key and pinned host key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.executors.ansible_process import DEPLOYMENT_KEY
from orchestrator.executors.login import has_own_key, login_to
from orchestrator.executors.ssh_key import key_folder, private_key
from orchestrator.remote.client_files import client_files
from orchestrator.remote.target import openssh_command
from orchestrator.services.deployment import OpenDeployment
from orchestrator.state.masking import without_secrets

_LONGEST = 12 * 3600.0
"""Seconds for which an agent keeps a key with a passphrase for one shell."""


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
    own = has_own_key(record.attributes)
    target = login_to(record, opened.secrets, DEPLOYMENT_KEY, opened.state.instances if opened.state else {})
    with (
        key_folder("" if own else private_key(opened.secrets, opened.folder)) as folder,
        client_files(folder, {node: target}, _LONGEST) as files,
    ):
        arguments = openssh_command(files.targets[node], files.known_hosts, list(command) or None, files.agent)
        environment = without_secrets(os.environ, opened.secrets.values())
        return subprocess.run(arguments, env=environment, check=False).returncode
