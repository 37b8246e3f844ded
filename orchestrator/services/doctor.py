"""Looks at everything that an apply needs before anything is changed: this computer, the machines, their network."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.diagnostics import Severity as Grade
from orchestrator.errors import DeployError
from orchestrator.executors.ansible_process import DEPLOYMENT_KEY
from orchestrator.executors.login import has_own_key, inside_address, login_to
from orchestrator.executors.ssh_key import key_folder, private_key
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.planner import Wanted
from orchestrator.providers.base import DeploymentTag
from orchestrator.remote.entry import target_of
from orchestrator.remote.host_keys import FILE_NAME, KnownHosts
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.doctor_computer import examine_computer
from orchestrator.services.doctor_findings import (
    THIS_COMPUTER,
    Examination,
    Finding,
    MachineReport,
    Severity,
    Subject,
    error,
    note,
    of_error,
    warning,
)
from orchestrator.services.doctor_machines import examine_machines
from orchestrator.services.doctor_network import examine_network
from orchestrator.services.preflight_clouds import check_machines
from orchestrator.state.folders import state_folder
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import SecretResolver
from orchestrator.topology.model import Value

_MACHINE = "machine"
"""Requirement of a cluster that lists its machines."""

_HOST_KEYS = ("host_key", "jump_host_keys")


@dataclass(frozen=True, slots=True)
class Conditions:
    """How an examination goes about it.

    Attributes:
        seconds: Bound for the questions to the machines, and again for the connections between them.
        known_hosts: The user's own file of host keys; ``None`` for what the environment says.
        tell: Called with lines of progress.
    """

    seconds: float
    known_hosts: Path | None
    tell: Callable[[str], None]

    def known(self, deployment: str) -> KnownHosts:
        """Where the host keys of a deployment are."""
        if self.known_hosts is None:
            return KnownHosts.of(state_folder(deployment))
        return KnownHosts(state_folder(deployment) / FILE_NAME, self.known_hosts)


def examine_wanted(
    deployment: str, wanted: Wanted, rehearsal: bool, open_deployment: Callable[[], OpenDeployment], how: Conditions
) -> Examination:
    """Look at what an apply of ``wanted`` needs.

    Args:
        deployment: Its name.
        wanted: What is to be applied, under its profile.
        rehearsal: Whether the profile is a rehearsal.
        open_deployment: Opens the state and the secrets, which may not be in reach.
        how: Bounds.
    """
    findings: list[Finding] = []
    try:
        opened = open_deployment()
    except DeployError as reason:
        opened = None
        findings.append(of_error("state", THIS_COMPUTER, reason))
    subjects, problems = _wanted_machines(wanted.instances, opened)
    there = opened.state.instances if opened is not None and opened.state is not None else {}
    notes = _notes(deployment, wanted.instances, subjects, there, rehearsal)
    findings += [*problems, *examine_computer(opened, wanted, subjects)]
    findings += _clouds(deployment, wanted.instances, opened, how.seconds)
    return _examine(deployment, rehearsal, subjects, findings, notes, how)


def examine_applied(opened: OpenDeployment, rehearsal: bool, how: Conditions) -> Examination:
    """Look at the machines of a deployment that was applied."""
    records = opened.state.instances if opened.state is not None else {}
    machines = [r for r in records.values() if "host" in r.attributes and "host_key" in r.attributes]
    machines = [r for r in machines if not is_former(r.address)]
    findings: list[Finding] = []
    with _key(opened, machines) as key:
        roles = dict(_recorded_roles(records))
        subjects = []
        for record in machines:
            try:
                target = login_to(record, opened.secrets, key, records)
            except DeployError as reason:
                findings.append(of_error("login", record.address, reason))
                continue
            cluster, role = roles.get(record.address, ("", ""))
            architecture = record.inputs.get("settings.architecture") or record.inputs.get(
                "capabilities.os.architecture"
            )
            need = {"architecture": architecture}
            subjects.append(Subject(record.address, target, cluster, role, need, inside_address(record)))
        findings += examine_computer(opened, None, subjects)
        notes = () if machines else (f"{opened.name} has no machines.",)
        return _examine(opened.name, rehearsal, subjects, findings, notes, how)


def _examine(
    deployment: str,
    rehearsal: bool,
    subjects: Sequence[Subject],
    findings: Sequence[Finding],
    notes: Sequence[str],
    how: Conditions,
) -> Examination:
    reports: tuple[MachineReport, ...] = ()
    network: tuple[Finding, ...] = ()
    if subjects:
        count = f"{len(subjects)} machine{'s' if len(subjects) != 1 else ''}"
        how.tell(f"Looking at {count}, {how.seconds:g} s at most.")
        began = time.monotonic()
        reports = examine_machines(subjects, how.known(deployment), how.tell, how.seconds)
        network = examine_network(reports, max(10.0, how.seconds - (time.monotonic() - began)))
    machines = tuple(
        replace(report, findings=(*report.findings, *(f for f in network if f.where == report.subject.address)))
        for report in reports
    )
    found = [*findings, *(finding for report in machines for finding in report.findings)]
    found.sort(key=lambda finding: list(Severity).index(finding.severity))
    return Examination(deployment, rehearsal, machines, tuple(found), tuple(notes))


def _clouds(
    deployment: str, instances: Mapping[str, DesiredInstance], opened: OpenDeployment | None, seconds: float
) -> Iterator[Finding]:
    """What clouds would refuse of the machines that are not there yet."""
    state = opened.state if opened is not None else None
    records = state.instances if state is not None else {}
    missing = [i for i in instances.values() if i.address not in records]
    tag = DeploymentTag(deployment, state.lineage if state is not None else "")
    for found in check_machines(missing, tag, seconds):
        tell = error if found.is_error else note if found.severity is Grade.NOTE else warning
        yield tell("clouds", found.address or THIS_COMPUTER, f"{found.summary} {found.detail}".strip(), "")


def _wanted_machines(
    instances: Mapping[str, DesiredInstance], opened: OpenDeployment | None
) -> tuple[list[Subject], list[Finding]]:
    """The machines that are there before the apply, and what is wrong with their description."""
    subjects: list[Subject] = []
    findings: list[Finding] = []
    resolve = SecretResolver(opened.secrets).resolve if opened is not None else _unresolved
    records = opened.state.instances if opened is not None and opened.state is not None else {}
    roles = dict(_wanted_roles(instances))
    for instance in instances.values():
        hosts = instance.properties.get("hosts")
        if not (isinstance(hosts, list) and instance.provider and instance.operations) or _is_made(instance):
            continue
        entry = hosts[instance.index] if instance.index < len(hosts) else None
        if not isinstance(entry, dict):
            text = f"{instance.address} has no address: {len(hosts)} of its machines are described."
            fix = "Add it to physical_nodes.yaml or the inventory, or lower the number of nodes in the production file."
            findings.append(error("address", instance.address, text, fix))
            continue
        cluster, role = roles.get(instance.address, ("", ""))
        try:
            whole = _with_pins(entry, records.get(instance.address))
            target = target_of(whole, instance.address, resolve, user=getpass.getuser())
        except DeployError as reason:
            findings.append(of_error("login", instance.address, reason))
            continue
        subjects.append(Subject(instance.address, target, cluster, role, _need(instance, instances.get(cluster))))
    return subjects, findings


def _is_made(instance: DesiredInstance) -> bool:
    """Whether the apply makes the machine, so that there is nothing to reach before."""
    return instance.disposable


def _with_pins(entry: Mapping[str, Value], record: InstanceRecord | None) -> dict[str, Value]:
    """The entry with the host keys that were pinned when the machine was set up, unless it has some itself."""
    whole: dict[str, Value] = {"key_file": "", **entry}
    if record is None or record.attributes.get("host") != entry.get("host") or whole.get("host_key"):
        return whole
    return {**whole, **{name: record.attributes[name] for name in _HOST_KEYS if name in record.attributes}}


def _need(machine: DesiredInstance, cluster: DesiredInstance | None) -> dict[str, Value]:
    """What the machine has to be fit for; the probe knows the rest."""
    system = machine.capabilities.get("os", {})
    configure = cluster.operations.get("configure") if cluster is not None else None
    inputs = configure.inputs if configure is not None else {}
    return {"architecture": system.get("architecture"), "data_dir": inputs.get("k3s_data_dir") or None}


def _wanted_roles(instances: Mapping[str, DesiredInstance]) -> Iterator[tuple[str, tuple[str, str]]]:
    for instance in instances.values():
        machines = instance.requirements.get(_MACHINE, ())
        yield from _roles(instance.address, machines, instance.properties.get("servers"))


def _recorded_roles(records: Mapping[str, InstanceRecord]) -> Iterator[tuple[str, tuple[str, str]]]:
    for record in records.values():
        machines = record.inputs.get(f"requirements.{_MACHINE}")
        if isinstance(machines, list):
            yield from _roles(record.address, [str(m) for m in machines], record.inputs.get("properties.servers"))


def _roles(cluster: str, machines: Sequence[str], servers: Value) -> Iterator[tuple[str, tuple[str, str]]]:
    """Machine to its cluster and its part in it: the first ones run the server."""
    count = int(str(servers)) if str(servers or "").isdecimal() else 1
    for number, machine in enumerate(machines):
        yield machine, (cluster, "server" if number < max(1, count) else "agent")


def _notes(
    deployment: str,
    instances: Mapping[str, DesiredInstance],
    subjects: Sequence[Subject],
    records: Mapping[str, InstanceRecord],
    rehearsal: bool,
) -> tuple[str, ...]:
    """What is not looked at, and why."""
    machines = [i for i in instances.values() if i.provider and i.operations]
    if rehearsal:
        text = (
            f"A rehearsal makes its {len(machines)} machines itself: there is nothing to reach before the apply. "
            "Afterwards they can be looked at by the deployment's name."
        )
        return (text,)
    made = [i.address for i in machines if i.address not in {s.address for s in subjects} and _is_made(i)]
    there = [address for address in made if address in records and "host" in records[address].attributes]
    missing = [address for address in made if address not in there]
    notes = []
    if missing:
        notes.append(f"Made by the apply, so there is nothing to reach yet: {', '.join(missing)}.")
    if there:
        notes.append(f"Made by an earlier apply: {', '.join(there)}. `deploy doctor {deployment}` looks at them.")
    return tuple(notes)


def _unresolved(reference: str, where: str) -> str:
    del where
    return os.environ.get(reference.removeprefix("env:"), "") if reference.startswith("env:") else ""


@contextmanager
def _key(opened: OpenDeployment, machines: Sequence[InstanceRecord]) -> Iterator[Path]:
    """A file with the deployment's key, if a machine needs it."""
    own = all(has_own_key(record.attributes) for record in machines)
    with key_folder("" if own else private_key(opened.secrets, opened.folder)) as folder:
        yield folder / DEPLOYMENT_KEY
