"""Simulated Pis of the local provider, and the K3s plays over them as the executor runs them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from orchestrator.clients.engine import engine_architecture
from orchestrator.executors.ansible import AnsibleExecutor
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Presence
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.local.provider import LocalProvider
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import run, wait_for_ssh
from orchestrator.remote.target import SshTarget
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value
from tests.secrets_in_memory import memory_secrets

TOKEN = "token-of-the-test-cluster"
SITE = MappingProxyType(
    {
        "k3s_version": "",
        "k3s_cluster_name": "edge",
        "k3s_token": "secret:edge-token",
        "k3s_binary_file": "resource:standins/k3s_standin",
        "k3s_node_labels": {"layer": "edge"},
    }
)


class Bench:
    """Simulated Pis, made and removed one by one, and plays over them."""

    def __init__(self, folder: Path) -> None:
        lineage = uuid.uuid4().hex
        self.tag = DeploymentTag(f"play-{lineage[:8]}", lineage)
        self.provider = LocalProvider()
        self.folder = folder
        private, self.public = generate_key()
        self.secrets = memory_secrets({"edge-token": TOKEN, "ssh-key": private})
        self.key = folder / "key" / "id_ed25519"
        self.key.parent.mkdir()
        self.key.write_text(private)
        self.key.chmod(0o600)
        self.known: dict[str, InstanceRecord] = {}
        self.runs = 0

    def make(self, index: int) -> SshTarget:
        address, hostname = f"pi[{index}]", f"pi-{index}"
        request = MachineRequest(
            deployment=self.tag,
            address=address,
            token=uuid.uuid4().hex,
            hostname=hostname,
            architecture=engine_architecture(),
            cpus=2,
            memory_mb=512,
            authorized_key=self.public,
            settings={"firmware": "raspberry-pi"},
        )
        made = self.provider.create(request)
        seen: dict[str, Value] = {"machine_id": made.id, "host": made.host, "port": made.port, "user": made.user}
        seen.update({"host_key": made.host_key, "hostname": hostname})
        self.known[address] = InstanceRecord(address, "pi", "continuum.nodes.PhysicalMachine", attributes=seen)
        wait_for_ssh(self.target(index), 60, threading.Event())
        return self.target(index)

    def remove(self, index: int) -> None:
        self.provider.delete(str(self.known.pop(f"pi[{index}]").attributes["machine_id"]))

    def target(self, index: int) -> SshTarget:
        seen = self.known[f"pi[{index}]"].attributes
        host, port, user = str(seen["host"]), int(str(seen["port"])), str(seen["user"])
        return SshTarget(host, port, user, self.key, str(seen["host_key"]))

    def shell(self, index: int, command: str) -> str:
        result = run(self.target(index), command, 60)
        assert result.exit_code == 0, result
        return result.stdout

    def request(self, file: str, inputs: Mapping[str, Value], operation: str = "configure") -> OperationRequest:
        self.runs += 1
        implementation = Operation(operation, "continuum.artifacts.AnsiblePlaybook", file, inputs)
        machines = tuple(sorted(self.known))
        cluster = DesiredInstance("edge", "edge", "continuum.nodes.K3sCluster", requirements={"machine": machines})
        seen: dict[str, Value] = {"kubeconfig": "kubeconfig/edge.yaml", "nodes": ["pi-0", "pi-1"]}
        folders = Folders(self.folder, self.folder / "runs" / str(self.runs), self.folder, self.folder)
        return OperationRequest(
            tag=self.tag,
            action=Action.CREATE,
            operation=operation,
            implementation=implementation,
            instance=cluster,
            record=InstanceRecord("edge", "edge", "continuum.nodes.K3sCluster", attributes=seen),
            known=dict(self.known),
            desired={"edge": cluster},
            folders=folders,
            secrets=self.secrets,
            progress=lambda _line: None,
            cancel=threading.Event(),
        )

    def site(self, **inputs: Value) -> OperationResult:
        return AnsibleExecutor().run(self.request("playbooks/site.yml", {**SITE, **inputs}))

    def said(self) -> str:
        """What Ansible printed in the last run, and K3s on the first machine, for a test that fails."""
        logs = sorted((self.folder / "runs" / str(self.runs)).rglob("*.log"))
        journal = self.shell(0, "sudo journalctl --no-pager -u k3s | tail -n 60")
        return "\n".join([*(log.read_text(encoding="utf-8") for log in logs), journal])

    def presence(self) -> tuple[Presence, str]:
        observation = AnsibleExecutor().observe(self.request("playbooks/site.yml", SITE))
        return observation.presence, observation.detail


def away(request: OperationRequest, address: str) -> OperationRequest:
    """The request with a machine that nothing answers for."""
    closed = {**request.known[address].attributes, "port": 9}
    return replace(request, known={**request.known, address: replace(request.known[address], attributes=closed)})


def nodes(bench: Bench, index: int = 0) -> dict[str, dict[str, Any]]:
    """Node objects as a server tells them."""
    listed = json.loads(bench.shell(index, "sudo k3s kubectl get nodes -o json"))
    return {item["metadata"]["name"]: item for item in listed["items"]}


AnyBench = TypeVar("AnyBench", bound=Bench)


@contextmanager
def removed_in_the_end(bench: AnyBench) -> Iterator[AnyBench]:
    """For the time of a block; then nothing of it is left."""
    try:
        yield bench
    finally:
        for machine in bench.provider.find(bench.tag):
            bench.provider.delete(machine.id)
        bench.provider.release(bench.tag)
    assert bench.provider.leftovers(bench.tag) == []
