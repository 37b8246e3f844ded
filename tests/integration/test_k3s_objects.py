"""Kubernetes objects through K3s's folder of manifests: over SSH on a simulated Raspberry Pi, with the stand-in."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.executors.ansible import AnsibleExecutor
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.desired_instances import desired_instances
from orchestrator.planning.profile import load_profile
from orchestrator.providers.base import DeploymentTag
from orchestrator.remote.ssh import run
from orchestrator.services.load import load_topology
from orchestrator.standin_files import standin_path
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value
from orchestrator.topology.types import shipped_types
from tests.plays_by_hand import Played, play, play_well
from tests.secrets_in_memory import memory_secrets
from tests.simulated_boards import Boards, simulated_boards

pytestmark = pytest.mark.engine

STANDIN = standin_path("k3s_standin")
FOLDER = "/var/lib/rancher/k3s/server/manifests"
PASSWORD = "password-of-the-broker"
MANIFEST = """\
# A broker, as somebody wrote it.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: broker
spec:
  replicas: 1
  template:
    metadata: {annotations: {template: "{{ not_ours }}"}}
    spec:
      containers:
        - name: broker
          image: broker:1
---
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: store, namespace: kube-system}
spec: {chart: store}
"""
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "broker"},
    "stringData": {"password": PASSWORD},
}


class Bench:
    """One machine with K3s, and the two plays."""

    def __init__(self, boards: Boards, folder: Path) -> None:
        self.boards = boards
        (folder / "broker.yaml").write_text(MANIFEST)
        self.variables: dict[str, Any] = {
            "k3s_objects_name": "Broker",
            "k3s_objects_folder": str(folder),
            "k3s_objects_files": ["broker.yaml"],
            "k3s_objects_list": [SECRET],
            "k3s_objects_timeout": 30,
        }

    def shell(self, command: str) -> str:
        result = run(self.boards.targets[0], command, 60)
        assert result.exit_code == 0, result
        return result.stdout

    def put(self, **more: Any) -> Played:
        return play("objects.yml", self.boards.inventory, {**self.variables, **more})

    def names(self, kind: str) -> list[str]:
        return self.shell(f"sudo k3s kubectl get {kind} --all-namespaces --output=name").split()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("objects")
    with simulated_boards(folder, 1) as boards:
        play_well("site.yml", boards.inventory, {"k3s_binary_file": str(STANDIN)})
        yield Bench(boards, folder)


def test_objects_come_once_and_no_secret_is_shown(bench: Bench) -> None:
    first, second = bench.put(), bench.put()
    assert (first.exit_code, first.total("changed")) == (0, 1), first.output
    assert (second.exit_code, second.total("changed")) == (0, 0), second.output
    assert PASSWORD not in first.output + second.output
    assert bench.shell(f"sudo stat -c %a:%U {FOLDER}/continuum-boards-broker.yaml") == "600:root\n"
    assert bench.names("deployments") == ["deployment/broker"]
    shown = json.loads(bench.shell("sudo k3s kubectl get deployment broker -o json"))
    assert shown["spec"]["template"]["metadata"]["annotations"] == {"template": "{{ not_ours }}"}


def test_what_does_not_come_is_named_with_its_reason(bench: Bench) -> None:
    faults = json.dumps({"objects": {"broker": {"reason": "ImagePullBackOff", "message": "no such image"}}})
    bench.shell(f"echo '{faults}' | sudo tee /etc/k3s-standin.json")
    played = bench.put(k3s_objects_timeout=2)
    bench.shell("sudo rm /etc/k3s-standin.json")
    assert played.exit_code != 0
    assert "Deployment broker: 0 of 1 pods are available; pod broker-" in played.output
    assert "ImagePullBackOff: no such image" in played.output
    assert PASSWORD not in played.output


def test_objects_go_with_their_file_and_may_go_twice(bench: Bench) -> None:
    variables = {"k3s_objects_name": "Broker", "k3s_objects_timeout": 30}
    assert play_well("objects_remove.yml", bench.boards.inventory, variables).total("changed") == 1
    assert bench.names("deployments,helmcharts,jobs,pods") == []
    assert bench.shell(f"sudo ls {FOLDER}") == ""
    assert play_well("objects_remove.yml", bench.boards.inventory, variables).total("changed") == 0


TEMPLATE = """\
tosca_definitions_version: tosca_simple_yaml_1_3
metadata: {template_name: broker}
imports: [continuum.yaml]
topology_template:
  node_templates:
    pi: {type: continuum.nodes.PhysicalMachine, properties: {resource: pi, layer: 1}}
    edge:
      type: continuum.nodes.K3sCluster
      properties: {cluster_name: edge}
      requirements: [machine: pi]
    broker:
      type: continuum.nodes.KubernetesObjects
      properties:
        name: broker
        timeout: 30
        files: [settings.yaml]
        objects:
          - {apiVersion: v1, kind: Secret, metadata: {name: broker}, stringData: {password: "secret:broker-password"}}
      requirements: [host: edge]
"""
SETTINGS = "{apiVersion: v1, kind: ConfigMap, metadata: {name: broker}, data: {size: '%s'}}\n"


class Application:
    """A template with objects, and the operations of its node over the machine with K3s."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.folder = folder
        self.runs = 0
        self.lines: list[str] = []
        target = bench.boards.targets[0]
        assert target.key_file is not None
        self.secrets = memory_secrets({"ssh-key": target.key_file.read_text(), "broker-password": PASSWORD})
        seen: dict[str, Value] = {"host": target.host, "port": target.port, "user": target.user}
        seen |= {"host_key": target.host_key, "hostname": bench.boards.names[0]}
        self.known = {"pi": InstanceRecord("pi", "pi", "continuum.nodes.PhysicalMachine", attributes=seen)}
        (folder / "template.yaml").write_text(TEMPLATE)

    def put_settings(self, size: str) -> None:
        (self.folder / "settings.yaml").write_text(SETTINGS % size)

    def digest(self) -> Value:
        return self.wanted()["broker"].properties["files_digest"]

    def wanted(self) -> dict[str, DesiredInstance]:
        loaded = load_topology(self.folder / "template.yaml")
        assert loaded.diagnostics == ()
        instances, _ = desired_instances(loaded.topology, shipped_types(), load_profile("production"), {})
        return dict(instances)

    def run(self, operation: str) -> OperationResult:
        self.runs += 1
        wanted = self.wanted()
        run = self.folder / "runs" / str(self.runs)
        request = OperationRequest(
            tag=DeploymentTag("objects", "0" * 32),
            action=Action.CREATE,
            operation=operation,
            implementation=wanted["broker"].operations[operation],
            instance=wanted["broker"],
            record=InstanceRecord("broker", "broker", "continuum.nodes.KubernetesObjects"),
            known=self.known,
            desired=wanted,
            folders=Folders(self.folder, run, self.folder, self.folder),
            secrets=self.secrets,
            progress=self.lines.append,
            cancel=threading.Event(),
        )
        return AnsibleExecutor().run(request)


def test_objects_of_a_template_come_with_their_secrets_change_with_their_files_and_go(
    bench: Bench, tmp_path: Path
) -> None:
    application = Application(bench, tmp_path)
    application.put_settings("small")
    first = application.digest()
    assert application.run("configure").changed
    assert not application.run("configure").changed
    stored = json.loads(bench.shell("sudo k3s kubectl get secret broker -o json"))
    assert PASSWORD in (stored.get("stringData", {}).get("password"), _decoded(stored))
    application.put_settings("large")
    assert application.digest() != first, "the plan shows it"
    assert application.run("configure").changed
    assert json.loads(bench.shell("sudo k3s kubectl get configmap broker -o json"))["data"] == {"size": "large"}
    assert application.run("delete").changed
    assert not {"secret/broker", "configmap/broker"} & set(bench.names("secrets") + bench.names("configmaps"))
    assert not application.run("delete").changed
    told = "\n".join(application.lines) + "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    assert "Have the objects made" in told
    assert PASSWORD not in told


def _decoded(secret: dict[str, Any]) -> str:
    return base64.b64decode(secret.get("data", {}).get("password", "")).decode()
