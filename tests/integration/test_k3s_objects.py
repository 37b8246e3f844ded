"""Kubernetes objects through K3s's folder of manifests: over SSH on a simulated Raspberry Pi, with the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.remote.ssh import run
from orchestrator.standin_files import standin_path
from tests.plays_by_hand import Played, play, play_well
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
