"""Runs operations that are Ansible playbooks, each in a child process that outlives a terminal's Ctrl-C."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.clients.kubernetes import ClusterNode, KubernetesClient, KubernetesError, load_kubeconfig
from orchestrator.clients.oscar import observe_oscar
from orchestrator.errors import DeployError, OperationError
from orchestrator.executors.ansible_process import DEPLOYMENT_KEY
from orchestrator.executors.base import DEGRADED, DEGRADED_BECAUSE, OperationRequest, OperationResult
from orchestrator.executors.image import restore_archives
from orchestrator.executors.k3s_cluster import (
    architecture_of,
    configuration_differences,
    labels_of,
    lost_majority,
    needs_upgrade,
    server_addresses,
)
from orchestrator.executors.kubeconfig import keep_kubeconfig, kubeconfig_file
from orchestrator.executors.login import has_own_key, inside_address, login_to
from orchestrator.executors.play import PlayOutcome, run_play
from orchestrator.executors.play_inputs import InputResolver, find_machines, missing_machines
from orchestrator.executors.ssh_key import key_file, private_key
from orchestrator.planning.drift import in_words
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.remote.client_files import target_to_dict
from orchestrator.remote.inventory import InventoryHost, render_inventory
from orchestrator.resources import data_path
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value
from orchestrator.topology.plain_yaml import load_plain

DEFAULT_TIMEOUT = 1800
"""Seconds that a play may take; an operation input ``play_timeout`` sets another bound."""

DEFAULT_SILENCE = 900
"""Seconds without a word from a play after which it counts as hanging; ``play_silence`` sets another bound."""

_OBSERVE_TIMEOUT = 4.0


class AnsibleExecutor:
    """Runs playbooks over the machines that a node instance is hosted on."""

    max_parallel = 10

    def run(self, request: OperationRequest) -> OperationResult:
        """Run the operation's playbook.

        Machines that cannot be reached are done without, and so is a board that does not come back from a reboot that
        the play does: the attribute ``degraded`` lists their addresses. Not the first machine, which carries the
        server, nor so many of several servers that no majority is left, nor anything where something is to be removed.

        Raises:
            OperationError: If a task failed, the first machine could not be reached, or the play took too long;
                transient if it is only that machines could not be reached.
        """
        machines = find_machines(request)
        if not machines:
            if request.operation == "delete":
                return OperationResult(changed=False)
            raise OperationError(
                "A play has no machines to run on.",
                detail=f"{request.instance.address}: no machine was found by way of its host and machine requirements.",
                resolution="Apply the machines first, or correct the requirements in the template.",
            )
        servers = server_addresses(request, machines)
        missing = () if request.operation == "delete" else missing_machines(request)
        _need_majority(request, servers, missing)
        if request.operation != "delete":
            restore_archives(request)
        job = _build_job(request, machines)
        job["variables"]["machines_missing"] = list(missing)
        upgrade = job.pop("upgrade")
        if upgrade:
            _run_upgrade(request, {**job, "playbook": upgrade})
        outcome = run_play(request, job)
        away = () if outcome.status == "successful" else _bearable(request, job, machines, outcome)
        if outcome.status != "successful" and not away:
            error = _explain(request, outcome, job["timeout"])
            names = [_name(machine) for machine in machines if machine.address in servers]
            raise error.passing() if _may_pass(outcome, names) else error
        keep_kubeconfig(request, outcome.attributes)
        causes = {m.address: cause for m in machines if m.address in away and (cause := outcome.cause_of(_name(m)))}
        _tell_left_out(request, (*missing, *away), causes)
        return OperationResult(
            {**outcome.attributes, **_degraded(request, (*missing, *away), causes)}, changed=outcome.changed > 0
        )

    def observe(self, request: OperationRequest) -> Observation:
        """What a play left behind says what can be asked: a kubeconfig, or the endpoint of an OSCAR."""
        if "store_endpoint" in request.record.attributes:
            return observe_oscar(request.record)
        kubeconfig = kubeconfig_file(request)
        if kubeconfig is None:
            return Observation(Presence.UNKNOWN)
        if not find_machines(request):
            return Observation(Presence.MISSING, "its machines are gone")
        return _observe_cluster(request, kubeconfig)


def _observe_cluster(request: OperationRequest, kubeconfig: Path) -> Observation:
    """Ask the API for the nodes and, at the same time, the machines for what K3s was configured with."""
    with ThreadPoolExecutor(1, thread_name_prefix="configurations") as pool:
        looked = pool.submit(configuration_differences, request, find_machines(request), _OBSERVE_TIMEOUT)
        seen = observe_from_inside(request, kubeconfig) or observe_cluster(kubeconfig, request.record)
        changed = looked.result()
    if not changed:
        return seen
    detail = "; ".join(([] if seen.presence is Presence.PRESENT else [seen.detail]) + [in_words(changed)])
    return replace(seen, presence=Presence.DEGRADED, detail=detail, differences=(*seen.differences, *changed))


def observe_from_inside(request: OperationRequest, kubeconfig: Path) -> Observation | None:
    """Ask the API over SSH to its first machine, if nobody outside reaches it; ``None`` if that is no such cluster."""
    first = find_machines(request)[0]
    if not inside_address(first):
        return None
    from orchestrator.remote.forward import forwarded  # noqa: PLC0415 - takes long, and few clusters need it

    try:
        port = urlsplit(load_kubeconfig(kubeconfig).server).port or 443
        private = "" if has_own_key(first.attributes) else private_key(request.secrets, request.folders.deployment)
        with key_file(private) as key:
            login = login_to(first, request.secrets, key, request.known)
            with forwarded(login, "127.0.0.1", port, _OBSERVE_TIMEOUT) as local:
                return observe_cluster(kubeconfig, request.record, f"https://127.0.0.1:{local}")
    except DeployError as reason:
        return Observation(Presence.DEGRADED, reason.detail or reason.summary)


def observe_cluster(kubeconfig: Path, record: InstanceRecord, server: str = "") -> Observation:
    """Ask a cluster's API for its nodes and compare them with those that the record names.

    Args:
        kubeconfig: How the API is reached.
        record: The cluster's.
        server: URL to ask instead of the one in the kubeconfig.
    """
    try:
        loaded = load_kubeconfig(kubeconfig)
        client = KubernetesClient(replace(loaded, server=server or loaded.server), _OBSERVE_TIMEOUT)
        nodes = client.read_nodes()
    except KubernetesError as reason:
        return Observation(Presence.DEGRADED, reason.detail or reason.summary)
    wanted = record.attributes.get("nodes")
    names = [str(name) for name in wanted] if isinstance(wanted, list) else [node.name for node in nodes]
    seen = {node.name: node for node in nodes}
    trouble = [f"node {name} is not in the cluster" for name in names if name not in seen]
    trouble += [
        f"node {name} is not ready: {seen[name].reason}" for name in names if name in seen and not seen[name].ready
    ]
    differences = _cluster_differences(record, names, seen)
    trouble += [words for d in differences if not d.name.startswith("nodes.") and (words := in_words([d]))]
    if trouble:
        return Observation(Presence.DEGRADED, "; ".join(trouble), differences=differences)
    return Observation(Presence.PRESENT, f"{len(names)} node{'s' if len(names) != 1 else ''} ready")


def _cluster_differences(
    record: InstanceRecord, names: Sequence[str], seen: Mapping[str, ClusterNode]
) -> tuple[Difference, ...]:
    """Nodes that are away or not ready, and the version of K3s where a node has another one than was installed."""
    states = {name: ("ready" if seen[name].ready else "not ready") if name in seen else None for name in names}
    found = [Difference(f"nodes.{name}", "ready", state) for name, state in states.items() if state != "ready"]
    installed = record.attributes.get("k3s_version")
    others = sorted({seen[name].version for name in names if name in seen} - {installed})
    if installed and others:
        found.append(Difference("k3s_version", installed, ", ".join(others)))
    return tuple(found)


def _build_job(request: OperationRequest, machines: Sequence[InstanceRecord]) -> dict[str, Any]:
    resolver = InputResolver(request)
    inputs = resolver.resolve_all(request.implementation.inputs)
    timeout = int(str(inputs.pop("play_timeout", DEFAULT_TIMEOUT)))
    silence = int(str(inputs.pop("play_silence", DEFAULT_SILENCE)))
    upgrade = str(inputs.pop("upgrade_playbook", ""))
    servers = server_addresses(request, machines)
    logins = {_name(machine): login_to(machine, request.secrets, DEPLOYMENT_KEY, request.known) for machine in machines}
    label = re.sub(r"[^A-Za-z0-9]+", "-", request.instance.address).strip("-")
    return {
        "playbook": _find_playbook(request, request.implementation.file),
        "upgrade": _find_playbook(request, upgrade) if needs_upgrade(request, inputs.get("k3s_version")) else "",
        "config_file": str(data_path("playbooks", "ansible.cfg")),
        "inventory": render_inventory(
            {
                "server": [_host(machine) for machine in machines if machine.address in servers],
                "agent": [_host(machine) for machine in machines if machine.address not in servers],
            }
        ),
        "logins": {name: target_to_dict(login) for name, login in logins.items()},
        "private_key": ""
        if all(has_own_key(machine.attributes) for machine in machines)
        else private_key(request.secrets, request.folders.deployment),
        "variables": {
            **inputs,
            "deployment_name": request.tag.name,
            "deployment_folder": str(request.folders.deployment.resolve()),
            "application_folder": str(request.folders.application.resolve()),
            "cache_folder": str(request.folders.cache.resolve()),
            "node_name": request.instance.node,
            **({"k3s_server_count": len(servers)} if len(servers) > 1 else {}),
            # The API of such a cluster is reached through its machines only.
            **({"k3s_ready_call_timeout": 0} if inside_address(machines[0]) else {}),
        },
        "secrets": sorted(
            {*request.secrets.values(), *resolver.secrets, *(s for t in logins.values() for s in t.secrets)}
        ),
        "log_file": str(request.folders.run.resolve() / f"ansible-{label}-{request.operation}.log"),
        "timeout": timeout,
        "silence": silence,
    }


def _find_playbook(request: OperationRequest, file: str) -> str:
    """Where a playbook of this program is."""
    playbook = data_path(*Path(file).parts)
    if not playbook.is_file():
        raise OperationError(
            "A playbook is missing.",
            detail=f"{request.instance.address}: {file} is not among the files of this program.",
            resolution="Correct the artifact's file in the node type or the profile.",
        )
    return str(playbook)


def _run_upgrade(request: OperationRequest, job: dict[str, Any]) -> None:
    """Bring the cluster to another version, machine by machine, before the rest is brought to what is wanted.

    Machines that cannot be reached keep their version until a later run has upgraded the others.
    """
    log_file = Path(job["log_file"])
    job["log_file"] = str(log_file.with_name(f"{log_file.stem}-upgrade.log"))
    request.progress("upgrading K3s, one machine after the other")
    outcome = run_play(request, job)
    if outcome.status != "successful" and not outcome.away:
        raise _explain(request, outcome, job["timeout"], Path(job["playbook"]).name, Path(job["log_file"]))


def _host(machine: InstanceRecord) -> InventoryHost:
    attributes = machine.attributes
    return InventoryHost(
        name=_name(machine),
        host=str(attributes["host"]),
        port=int(str(attributes.get("port", 22))),
        user=str(attributes.get("user", "root")),
        key_file=None,
        address=machine.address,
        architecture=architecture_of(machine),
        inside=inside_address(machine),
        labels=labels_of(machine),
    )


def _need_majority(request: OperationRequest, servers: Sequence[str], missing: Sequence[str]) -> None:
    """Refuse to begin where so many servers are not there that the others could not work.

    Raises:
        OperationError: If it is so.
    """
    why = lost_majority(servers, missing)
    if why:
        raise OperationError(
            "Too many servers of a cluster are not there.",
            detail=f"{request.instance.address}: {why}",
            resolution="Apply again once the cause is mended for which those machines could not be had.",
        )


def _name(machine: InstanceRecord) -> str:
    """What the machine is called in the inventory."""
    return str(machine.attributes.get("hostname") or machine.address)


def _bearable(
    request: OperationRequest, job: dict[str, Any], machines: Sequence[InstanceRecord], outcome: PlayOutcome
) -> tuple[str, ...]:
    """Addresses of the machines that could not be reached, if all else was done all the same; else none."""
    addresses = {_name(machine): machine.address for machine in machines}
    away = tuple(addresses[host] for host in outcome.away if host in addresses)
    # Ansible gives the whole playbook up when nobody is left in one play of it.
    got_through = outcome.plays == len(load_plain(Path(job["playbook"]).read_text(encoding="utf-8")))
    servers = server_addresses(request, machines)
    is_bearable = request.operation != "delete" and got_through and servers[0] not in away
    return away if is_bearable and not lost_majority(servers, {*away, *job["variables"]["machines_missing"]}) else ()


def _tell_left_out(request: OperationRequest, left_out: Sequence[str], causes: Mapping[str, str]) -> None:
    silent = [address for address in left_out if address not in causes]
    if silent:
        request.progress(f"went on without {', '.join(silent)}, which cannot be reached")
    for address, cause in causes.items():
        request.progress(f"went on without {address}, which {cause}")


def _may_pass(outcome: PlayOutcome, servers: Sequence[str]) -> bool:
    """Whether it failed only at machines that do not answer now; a reboot was waited for long enough already."""
    is_away = bool(outcome.away) or any(outcome.is_away(server) for server in servers)
    return is_away and not any(outcome.cause_of(server) for server in servers)


def _degraded(request: OperationRequest, left_out: tuple[str, ...], causes: Mapping[str, str]) -> dict[str, Value]:
    """The attributes that say what was left out by this play and the ones before it in the same change, and why.

    What was waited for in vain once, and was not reached since, is away for the same cause.
    """
    kind = request.implementation.artifact_type
    plays = [o.name for o in request.instance.operations.values() if o.artifact_type == kind]
    before = request.record.attributes.get(DEGRADED)
    known = [str(address) for address in before] if isinstance(before, list) else []
    earlier = known if plays and request.operation != plays[0] else []
    merged: list[Value] = [*dict.fromkeys((*earlier, *left_out))]
    because = request.record.attributes.get(DEGRADED_BECAUSE)
    told = {**(because if isinstance(because, dict) else {}), **causes}
    still: dict[str, Value] = {address: told[address] for address in map(str, merged) if address in told}
    found: dict[str, Value] = {DEGRADED: merged} if merged or known else {}
    return {**found, DEGRADED_BECAUSE: still} if still or because else found


def _explain(
    request: OperationRequest, outcome: PlayOutcome, seconds: int, playbook: str = "", log_file: Path | None = None
) -> OperationError:
    address, playbook = request.instance.address, playbook or request.implementation.file
    parts = []
    for host, event in outcome.failures.items():
        what = "cannot be reached at" if event["kind"] == "unreachable" else "failed at"
        if outcome.cause_of(host):
            what = f"{outcome.cause_of(host)}, and {what}"
        parts.append(f"{host} {what} the task {event['task']!r}: {event['message']}")
    if outcome.overdue:
        parts.append(f"{playbook} was stopped: {outcome.overdue}.")
    elif outcome.status == "timeout":
        parts.append(f"{playbook} was stopped: it did not end within {seconds} s, {outcome.where}.")
    elif outcome.status == "canceled":
        parts.append(f"{playbook} was stopped.")
    if not parts or (not outcome.failures and outcome.lines):
        parts += outcome.lines[-10:] or [f"{playbook} ended without a word."]
    label = re.sub(r"[^A-Za-z0-9]+", "-", address).strip("-")
    log_file = log_file or request.folders.run / f"ansible-{label}-{request.operation}.log"
    return OperationError(
        "A play failed.",
        detail=f"{address}: {request.operation} ({playbook}): " + "\n".join(parts),
        resolution="Mend the cause and apply again: what is in place already stays. Ansible's whole output is in "
        f"{log_file}.",
        log_file=log_file,
    )
