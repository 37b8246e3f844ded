"""What is particular to the plays of a K3s cluster: servers, labels, upgrades, and whether a config was changed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from orchestrator.errors import DeployError
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.login import has_own_key, login_to
from orchestrator.executors.ssh_key import key_file, private_key
from orchestrator.planning.actions import Action
from orchestrator.planning.observation import Difference
from orchestrator.remote.target import SshTarget
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

CONFIGURATION = "/etc/rancher/k3s/config.yaml"
_AT_ONCE = 16


def server_addresses(request: OperationRequest, machines: Sequence[InstanceRecord]) -> tuple[str, ...]:
    """The machines that carry servers of the cluster that the play is for, also where one is wanted and not there.

    Args:
        request: Whose play.
        machines: Those that are there.
    """
    count = max(1, int(str(request.instance.properties.get("servers") or 1)))
    listed = request.instance.requirements.get("machine") or tuple(machine.address for machine in machines)
    return tuple(listed[:count])


def lost_majority(servers: Sequence[str], away: Collection[str]) -> str:
    """Why a cluster cannot do without the servers that are away, in a sentence; empty if it can.

    It cannot do without the first one, by which everything is asked.
    """
    gone = [address for address in servers if address in away]
    needed = len(servers) // 2 + 1
    if len(servers) - len(gone) >= needed:
        return ""
    if len(servers) == 1:
        return f"{gone[0]} carries the cluster's server."
    return f"Of {len(servers)} servers {needed} must be there, and {', '.join(gone)} cannot be reached."


def architecture_of(machine: InstanceRecord) -> str:
    """``amd64`` or ``arm64``: what a rehearsal makes, else what was asked for; empty if either will do."""
    inputs = machine.inputs
    return str(inputs.get("settings.architecture") or inputs.get("capabilities.os.architecture") or "")


def labels_of(machine: InstanceRecord) -> dict[str, str]:
    """Labels that only this machine has: its architecture, graphics processors and enclaves."""
    inputs = machine.inputs
    found: dict[str, Value] = {"architecture": architecture_of(machine)}
    if inputs.get("properties.num_gpus"):
        found |= {"gpus": inputs["properties.num_gpus"], "gpu-vendor": inputs.get("properties.gpu_vendor")}
    if inputs.get("properties.sgx") is True:
        found["sgx"] = "true"
    return {f"continuum/{name}": _label(value) for name, value in found.items() if value}


def _label(value: Value) -> str:
    """A value as a label may have it: up to 63 letters, digits, dots, dashes and underscores."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in str(value))
    return kept[:63].strip("-_.")


def needs_upgrade(request: OperationRequest, wanted: Value) -> bool:
    """Whether the cluster is there with another version than the one that is wanted now."""
    asked = request.record.attributes.get("k3s_version_asked")
    return request.action is Action.UPDATE and bool(wanted) and bool(asked) and asked != wanted


def configuration_differences(
    request: OperationRequest, machines: Sequence[InstanceRecord], timeout: float
) -> tuple[Difference, ...]:
    """Nodes whose config.yaml is not as the play left it; one that does not answer in time is not judged.

    Read over SSH, all machines at the same time. What is told are checksums, since the file holds the token.
    """
    recorded = request.record.attributes.get("configurations")
    if not isinstance(recorded, Mapping):
        return ()
    wanted = {name: machine for machine in machines if (name := str(machine.attributes.get("hostname"))) in recorded}
    found = _checksums(request, wanted, timeout)
    return tuple(
        Difference(f"nodes.{name}.config.yaml", recorded[name], checksum)
        for name, checksum in sorted(found.items())
        if recorded[name] and checksum != recorded[name]
    )


def _checksums(
    request: OperationRequest, machines: Mapping[str, InstanceRecord], timeout: float
) -> dict[str, str | None]:
    if not machines:
        return {}
    own = all(has_own_key(machine.attributes) for machine in machines.values())
    found: dict[str, str | None] = {}

    def look(name: str, target: SshTarget) -> None:
        found.update(_checksum(name, target, timeout))

    try:
        private = "" if own else private_key(request.secrets, request.folders.deployment)
        with key_file(private) as key:
            pool = ThreadPoolExecutor(min(_AT_ONCE, len(machines)), thread_name_prefix="configuration")
            logins = {n: login_to(m, request.secrets, Path(key), request.known) for n, m in machines.items()}
            looks = [pool.submit(look, name, login) for name, login in logins.items()]
            wait(looks, timeout)
            pool.shutdown(wait=False, cancel_futures=True)
    except DeployError:
        return {}
    return dict(found)


def _checksum(name: str, target: SshTarget, timeout: float) -> dict[str, str | None]:
    """Checksum of the machine's file, ``None`` if the file is not there; nothing if it cannot be told."""
    from orchestrator.remote.ssh import open_session  # noqa: PLC0415 - takes long, and few commands need it

    sudo = "" if target.user == "root" else "sudo -n " if not target.become_password else "sudo -S -p '' "
    script = f"if test -e {CONFIGURATION}; then sha256sum {CONFIGURATION}; else echo absent; fi"
    given = (target.become_password + "\n").encode() if target.become_password and target.user != "root" else b""
    try:
        with open_session(target, timeout) as session:
            told = session.run(f"{sudo}sh -c {shlex.quote(script)}", timeout, given)
    except DeployError:
        return {}
    word = told.stdout.split()[0] if told.exit_code == 0 and told.stdout.split() else ""
    return {name: None if word == "absent" else word} if word else {}
