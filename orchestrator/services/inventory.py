"""The Ansible inventory of a deployment, for playbooks by hand: machines as the state, else the input, has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.executors.login import inside_address, is_behind_another, way_to
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import MACHINE
from orchestrator.remote.entry import target_of
from orchestrator.remote.target import SshTarget, is_host_key
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secrets import references
from orchestrator.topology.model import Value

_RUN_TIME = "get_attribute"
_OF_THE_EXECUTOR = ("play_timeout", "play_silence", "upgrade_playbook")
_SHIPPED = "resource:"


@dataclass(frozen=True, slots=True)
class ClusterInventory:
    """The machines of one cluster.

    Attributes:
        name: Name of the cluster's node.
        servers: Host name to variables.
        agents: The same.
        variables: What the plays get, without secrets.
        secrets: Names of what they need besides, which are secrets.
        unknown: Addresses of machines of which nobody knows yet where they are.
    """

    name: str
    servers: Mapping[str, Mapping[str, Value]]
    agents: Mapping[str, Mapping[str, Value]]
    variables: Mapping[str, Value]
    secrets: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The name as Ansible takes it for a group."""
        return re.sub(r"\W", "_", self.name)


def build_inventory(
    wanted: Mapping[str, DesiredInstance], records: Mapping[str, InstanceRecord], chosen: str = ""
) -> tuple[ClusterInventory, ...]:
    """The inventory of every cluster, or of one.

    Args:
        wanted: What is to be applied, by address.
        records: What the state has of it.
        chosen: Node name of a cluster, or of its machines; every one if empty.

    Raises:
        UsageError: If there is no such cluster.
    """
    clusters = [i for i in wanted.values() if i.requirements.get(MACHINE) and "configure" in i.operations]
    clusters = [i for i in clusters if any(wanted[a].provider for a in i.requirements[MACHINE] if a in wanted)]
    found = [c for c in clusters if chosen in ("", c.node, str(c.properties.get("cluster_name")))]
    if not found:
        raise UsageError(
            "There is no such cluster." if chosen else "There are no machines to play on.",
            detail=f"{chosen!r} was asked for; there is: {', '.join(c.node for c in clusters) or 'none'}."
            if chosen
            else "No cluster of this deployment is made by plays.",
            resolution="Name one of them, as it is called in the plan." if chosen else "",
        )
    return tuple(_cluster(cluster, wanted, records) for cluster in found)


def _cluster(
    cluster: DesiredInstance, wanted: Mapping[str, DesiredInstance], records: Mapping[str, InstanceRecord]
) -> ClusterInventory:
    servers: dict[str, Mapping[str, Value]] = {}
    agents: dict[str, Mapping[str, Value]] = {}
    unknown: list[str] = []
    count = max(1, int(str(cluster.properties.get("servers") or 1)))
    for number, address in enumerate(cluster.requirements[MACHINE]):
        machine, record = wanted[address], records.get(address)
        target = _target(machine, record, records)
        if target is None:
            unknown.append(address)
        else:
            group = servers if number < count else agents
            group[_hostname(machine, record)] = dict(_host_variables(machine, target, record))
    inputs = {k: v for k, v in cluster.operations["configure"].inputs.items() if k not in _OF_THE_EXECUTOR}
    return ClusterInventory(
        cluster.node,
        servers,
        agents,
        {name: value for name, value in inputs.items() if value not in ("", [], {}) and _is_plain(value)},
        tuple(name for name, value in inputs.items() if references(value)),
        tuple(unknown),
    )


def _is_plain(value: Value) -> bool:
    """Whether a value is known now, means the same to a person's Ansible, and is no secret."""
    if isinstance(value, dict):
        return _RUN_TIME not in value and all(_is_plain(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_plain(inner) for inner in value)
    return not (isinstance(value, str) and (references(value) or value.startswith(_SHIPPED)))


def _hostname(machine: DesiredInstance, record: InstanceRecord | None) -> str:
    recorded = record.attributes.get("hostname") if record is not None else None
    return str(recorded or f"{machine.node}-{machine.index}")


def _entry(machine: DesiredInstance) -> Mapping[str, Value]:
    """How the input says that the machine is reached; empty if it is made, or nothing is said."""
    hosts = machine.properties.get("hosts")
    entry = hosts[machine.index] if isinstance(hosts, list) and machine.index < len(hosts) else None
    return entry if isinstance(entry, dict) and not machine.disposable else {}


def _target(
    machine: DesiredInstance, record: InstanceRecord | None, records: Mapping[str, InstanceRecord]
) -> SshTarget | None:
    """How a person logs in: with the key that the input names. Machines that were made know the deployment's only."""
    recorded: Mapping[str, Value] = way_to(record, records) if record is not None else {}
    names = ("host", "port", "user", "host_key", *(("jump",) if record and is_behind_another(record) else ()))
    known = {name: recorded[name] for name in names if recorded.get(name)}
    entry = {**_entry(machine), **known}
    if not entry.get("host"):
        return None
    return target_of(entry, machine.address, lambda _reference, _where: "", user="")


def _host_variables(
    machine: DesiredInstance, target: SshTarget, record: InstanceRecord | None
) -> Iterator[tuple[str, Value]]:
    yield "ansible_host", target.host
    yield "ansible_port", target.port
    if target.user:
        yield "ansible_user", target.user
    entry = _entry(machine)
    if entry.get("key_file"):
        yield "ansible_ssh_private_key_file", str(entry["key_file"])
    if target.hops:
        way = ",".join(f"{hop.user}@{hop.place}" if hop.user else hop.place for hop in target.hops)
        yield "ansible_ssh_common_args", f"-o ProxyJump={way}"
    password = _lookup(str(entry.get("become_password") or ""))
    if password:
        yield "ansible_become_password", password
    if is_host_key(target.host_key):
        yield "machine_host_key", target.host_key
    yield "machine_address", machine.address
    if record is not None and inside_address(record):
        yield "machine_inside_address", inside_address(record)
    asked = machine.settings.get("architecture") or machine.capabilities.get("os", {}).get("architecture")
    yield "machine_architecture", str(asked or "")


def _lookup(reference: str) -> str:
    """What Ansible looks a value up by that is kept outside; empty for what the deployment keeps."""
    kind, _, place = reference.partition(":")
    if kind == "env":
        return f"{{{{ lookup('ansible.builtin.env', '{place}') }}}}"
    if kind == "file" and "'" not in place:
        return f"{{{{ lookup('ansible.builtin.file', '{Path(place).expanduser()}') }}}}"
    return ""
