"""Runs operations that are Ansible playbooks, each in a child process that outlives a terminal's Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from orchestrator.clients.kubernetes import KubernetesClient, KubernetesError, load_kubeconfig
from orchestrator.clients.oscar import observe_oscar
from orchestrator.errors import OperationError
from orchestrator.executors import children
from orchestrator.executors.ansible_process import remove_leftovers
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.play_inputs import InputResolver, find_machines
from orchestrator.planning.observation import Observation, Presence
from orchestrator.remote.inventory import InventoryHost, render_inventory
from orchestrator.remote.ssh import SshTarget, known_hosts_line
from orchestrator.resources import data_path
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

DEFAULT_TIMEOUT = 1800
"""Seconds that a play may take; an operation input ``play_timeout`` sets another bound."""

_OBSERVE_TIMEOUT = 4.0
_KILL_GRACE = 10.0


@dataclass(slots=True)
class _Outcome:
    """What the events of one play said."""

    changed: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    status: str = ""

    def take(self, event: dict[str, Any]) -> str:
        """Note an event; returns a line of progress, or nothing."""
        kind = event.get("kind")
        if kind == "task":
            return str(event["task"])
        if kind in {"failed", "unreachable"}:
            # A rescue section explains what failed before it: the last word of a host is the one to show.
            self.failures[str(event["host"])] = event
        elif kind == "stats":
            self.changed, self.attributes = event["changed"], event["attributes"]
        elif kind == "line":
            self.lines = [*self.lines[-19:], str(event["text"])]
        elif kind == "end":
            self.status = str(event["status"])
        return ""


class AnsibleExecutor:
    """Runs playbooks over the machines that a node instance is hosted on."""

    max_parallel = 10

    def run(self, request: OperationRequest) -> OperationResult:
        """Run the operation's playbook.

        Raises:
            OperationError: If a task failed, a machine could not be reached, or the play took too long.
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
        outcome = _run_child(request, _build_job(request, machines))
        if outcome.status != "successful":
            raise _explain(request, outcome)
        return OperationResult(outcome.attributes, changed=outcome.changed > 0)

    def observe(self, request: OperationRequest) -> Observation:
        """What a play left behind says what can be asked: a kubeconfig, or the endpoint of an OSCAR."""
        if "store_endpoint" in request.record.attributes:
            return observe_oscar(request.record)
        kubeconfig = request.record.attributes.get("kubeconfig")
        if not isinstance(kubeconfig, str):
            return Observation(Presence.UNKNOWN)
        if not find_machines(request):
            return Observation(Presence.MISSING, "its machines are gone")
        return observe_cluster(request.folders.deployment / kubeconfig, request.record)


def observe_cluster(kubeconfig: Path, record: InstanceRecord) -> Observation:
    """Ask a cluster's API for its nodes and compare them with those that the record names."""
    try:
        client = KubernetesClient(load_kubeconfig(kubeconfig), _OBSERVE_TIMEOUT)
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
    if trouble:
        return Observation(Presence.DEGRADED, "; ".join(trouble))
    return Observation(Presence.PRESENT, f"{len(names)} node{'s' if len(names) != 1 else ''} ready")


def _build_job(request: OperationRequest, machines: Sequence[InstanceRecord]) -> dict[str, Any]:
    resolver = InputResolver(request)
    inputs = resolver.resolve_all(request.implementation.inputs)
    timeout = int(str(inputs.pop("play_timeout", DEFAULT_TIMEOUT)))
    key_file = request.folders.deployment / "ssh" / "id_ed25519"
    hosts = [_host(machine, key_file) for machine in machines]
    label = re.sub(r"[^A-Za-z0-9]+", "-", request.instance.address).strip("-")
    playbook = data_path(*Path(request.implementation.file).parts)
    if not playbook.is_file():
        raise OperationError(
            "A playbook is missing.",
            detail=f"{request.instance.address}: {request.implementation.file} is not among the files of this program.",
            resolution="Correct the artifact's file in the node type or the profile.",
        )
    return {
        "playbook": str(playbook),
        "config_file": str(data_path("playbooks", "ansible.cfg")),
        "inventory": render_inventory({"server": hosts[:1], "agent": hosts[1:]}),
        "known_hosts": "".join(known_hosts_line(_target(machine, key_file)) for machine in machines),
        "variables": {
            **inputs,
            "deployment_name": request.tag.name,
            "deployment_folder": str(request.folders.deployment.resolve()),
            "cache_folder": str(request.folders.cache.resolve()),
            "node_name": request.instance.node,
        },
        "secrets": sorted({*request.secrets.values(), *resolver.secrets}),
        "log_file": str(request.folders.run.resolve() / f"ansible-{label}-{request.operation}.log"),
        "timeout": timeout,
    }


def _host(machine: InstanceRecord, key_file: Path) -> InventoryHost:
    attributes = machine.attributes
    return InventoryHost(
        name=str(attributes.get("hostname") or machine.address),
        host=str(attributes["host"]),
        port=int(str(attributes.get("port", 22))),
        user=str(attributes.get("user", "root")),
        key_file=key_file.resolve(),
        address=machine.address,
        architecture=str(machine.inputs.get("capabilities.os.architecture", "")),
    )


def _target(machine: InstanceRecord, key_file: Path) -> SshTarget:
    host = _host(machine, key_file)
    return SshTarget(host.host, host.port, host.user, key_file, str(machine.attributes["host_key"]))


def _run_child(request: OperationRequest, job: dict[str, Any]) -> _Outcome:
    outcome = _Outcome()
    errors = Path(job["log_file"]).with_suffix(".stderr")
    errors.parent.mkdir(parents=True, exist_ok=True)
    with errors.open("wb") as stderr:
        child = children.start(partial(_start_play, request, stderr))
    # ansible-runner ends the play itself when its time is over; this timer is for a child that no longer does.
    guard = threading.Timer(job["timeout"] + _KILL_GRACE, children.kill_group, (child, signal.SIGKILL))
    guard.daemon = True
    guard.start()
    try:
        _exchange(request, child, job, outcome)
        child.wait(_KILL_GRACE)
    finally:
        guard.cancel()
        if child.poll() is None:
            children.kill_group(child, signal.SIGKILL)
            child.wait()
        if child.returncode < 0:
            remove_leftovers()
        children.unregister(child)
    _read_errors(errors, outcome, job["secrets"])
    return outcome


def _start_play(request: OperationRequest, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.executors.ansible_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        pass_fds=(request.lock_fd,) if request.lock_fd >= 0 else (),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONUNBUFFERED": "1"},
    )


def _exchange(
    request: OperationRequest, child: subprocess.Popen[bytes], job: dict[str, Any], outcome: _Outcome
) -> None:
    # Both pipes exist, as asked for above.
    stdin, stdout = child.stdin, child.stdout
    if stdin is None or stdout is None:
        raise AssertionError("the child process has no pipes")
    with contextlib.suppress(BrokenPipeError), stdin:
        stdin.write(json.dumps(job).encode())
    with stdout:
        for line in stdout:
            try:
                event = json.loads(line)
            except ValueError:
                outcome.lines = [*outcome.lines[-19:], line.decode(errors="replace").rstrip()]
                continue
            shown = outcome.take(event)
            if shown:
                request.progress(shown)


def _read_errors(path: Path, outcome: _Outcome, secrets: Sequence[str]) -> None:
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "********")
    if text:
        path.write_text(text + "\n", encoding="utf-8")
        outcome.lines += text.splitlines()[-10:]
    else:
        path.unlink()


def _explain(request: OperationRequest, outcome: _Outcome) -> OperationError:
    address, playbook = request.instance.address, request.implementation.file
    parts = []
    for host, event in outcome.failures.items():
        what = "cannot be reached at" if event["kind"] == "unreachable" else "failed at"
        parts.append(f"{host} {what} the task {event['task']!r}: {event['message']}")
    if outcome.status == "timeout":
        parts.append(f"{playbook} did not end in time and was stopped.")
    elif outcome.status == "canceled":
        parts.append(f"{playbook} was stopped.")
    if not parts or (not outcome.failures and outcome.lines):
        parts += outcome.lines[-10:] or [f"{playbook} ended without a word."]
    label = re.sub(r"[^A-Za-z0-9]+", "-", address).strip("-")
    log_file = request.folders.run / f"ansible-{label}-{request.operation}.log"
    return OperationError(
        "A play failed.",
        detail=f"{address}: {request.operation} ({playbook}): " + "\n".join(parts),
        resolution="Mend the cause and apply again: what is in place already stays. Ansible's whole output is in "
        f"{log_file}.",
        log_file=log_file,
    )
