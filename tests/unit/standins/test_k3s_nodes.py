"""Nodes of the stand-in for K3s: labels, taints, maintenance, certificates, registries and images."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.standins.k3s_machine import Node, full_token, join, states, wait_for


def node_of(server: Node, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(server.call("kubectl", "get", "node", name, "-o", "json").stdout)
    return loaded


def test_labels_of_the_configuration_count_when_a_node_is_made_and_not_again(server: Node) -> None:
    assert node_of(server, "pi-0")["metadata"]["labels"]["layer"] == "edge"
    server.stop()
    config = Path(server.root / "etc/rancher/k3s/config.yaml")
    config.write_text(config.read_text().replace("layer=edge", "layer=cloud"))
    server.start("server")
    assert server.ready()
    assert node_of(server, "pi-0")["metadata"]["labels"]["layer"] == "edge"


def test_labels_and_taints_are_set_and_taken_away(server: Node) -> None:
    assert server.call("kubectl", "label", "node", "pi-0", "gpu=true", "layer-").stdout == "node/pi-0 labeled\n"
    labels = node_of(server, "pi-0")["metadata"]["labels"]
    assert (labels["gpu"], "layer" in labels) == ("true", False)
    refused = server.call("kubectl", "label", "node", "pi-0", "gpu=false")
    assert (refused.returncode, "already has a value (true)" in refused.stderr) == (1, True)
    assert (
        server.call("kubectl", "label", "--overwrite", "node", "pi-0", "gpu=true").stdout == "node/pi-0 not labeled\n"
    )
    assert server.call("kubectl", "taint", "nodes", "pi-0", "sgx=yes:NoSchedule").stdout == "node/pi-0 tainted\n"
    assert node_of(server, "pi-0")["spec"]["taints"] == [{"key": "sgx", "value": "yes", "effect": "NoSchedule"}]
    assert server.call("kubectl", "taint", "nodes", "pi-0", "sgx-").stdout == "node/pi-0 untainted\n"
    assert "taints" not in node_of(server, "pi-0")["spec"]


WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    spec: {containers: [{name: web, image: web:1}]}
"""


def test_a_drained_node_keeps_nothing_and_its_pods_run_elsewhere(
    server: Node, make_node: Callable[[], Node], port: int
) -> None:
    agent = make_node()
    join(agent, "pi-1", port, full_token(server))
    assert agent.ready()
    server.write("var/lib/rancher/k3s/server/manifests/web.yaml", WEB)

    def places() -> list[str]:
        items = json.loads(server.call("kubectl", "get", "pods", "-o", "json").stdout or '{"items": []}')["items"]
        return sorted(item["spec"].get("nodeName", "") for item in items)

    wait_for(lambda: places() == ["pi-0", "pi-1"])
    done = server.call("kubectl", "drain", "pi-1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=20s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "node/pi-1 cordoned"
    assert done.stdout.splitlines()[-1] == "node/pi-1 drained"
    wait_for(lambda: places() == ["pi-0", "pi-0"])
    assert "Ready,SchedulingDisabled" in server.call("kubectl", "get", "nodes").stdout
    assert server.call("kubectl", "uncordon", "pi-1").stdout == "node/pi-1 uncordoned\n"
    assert "SchedulingDisabled" not in server.call("kubectl", "get", "nodes").stdout


def test_a_drain_that_is_held_up_ends_with_its_reason(server: Node) -> None:
    server.write("var/lib/rancher/k3s/server/manifests/web.yaml", WEB)
    wait_for(lambda: server.call("kubectl", "get", "pods", "-o", "name").stdout.count("pod/web") == 2)
    faults = {"heartbeat_interval": 0.1, "drain_blocked": True}
    server.write("etc/k3s-standin.json", json.dumps(faults))
    done = server.call("kubectl", "drain", "pi-0", "--timeout=1s")
    assert done.returncode == 1
    assert "disruption budget" in done.stderr
    assert "global timeout reached: 1s" in done.stderr


def test_certificates_end_when_they_are_told_to(make_node: Callable[[], Node], port: int) -> None:
    node = make_node()
    node.write("etc/k3s-standin.json", json.dumps({"heartbeat_interval": 0.1, "certificate_days": 3}))
    node.start("server", f"--https-listen-port={port}")
    assert node.ready(), node.read("log")
    wait_for((node.root / "var/lib/rancher/k3s/agent/client-kubelet.crt").is_file)
    for name in ("server/tls/serving-kube-apiserver.crt", "agent/serving-kubelet.crt"):
        path = node.root / "var/lib/rancher/k3s" / name
        for seconds, expected in ((2 * 86400, 0), (4 * 86400, 1)):
            command = ["openssl", "x509", "-noout", "-checkend", str(seconds), "-in", str(path)]
            assert subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == expected
    assert "expires at" in node.call("certificate", "check").stderr


@pytest.mark.parametrize(
    "text", ["mirrors:\n- docker.io\n", "mirrors: {docker.io: {endpoint: http://x}}\n", "mirrors: [\n"]
)
def test_registries_that_cannot_be_read_keep_an_agent_from_starting(
    server: Node, make_node: Callable[[], Node], port: int, text: str
) -> None:
    agent = make_node()
    agent.write("etc/rancher/k3s/registries.yaml", text)
    join(agent, "pi-1", port, full_token(server))
    wait_for(lambda: "Waiting to retrieve agent configuration" in agent.read("log"))
    assert not agent.ready(0.3)
    assert list(states(server)) == ["pi-0"]
    agent.write(
        "etc/rancher/k3s/registries.yaml", 'mirrors:\n  docker.io:\n    endpoint:\n    - "http://10.0.0.1:5000"\n'
    )
    assert agent.ready(), agent.read("log")
    hosts = agent.read("var/lib/rancher/k3s/agent/etc/containerd/certs.d/docker.io/hosts.toml")
    assert 'host."http://10.0.0.1:5000"' in hosts


def archive(path: Path, tag: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        content = json.dumps([{"RepoTags": [tag]}]).encode()
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def test_images_of_the_folder_are_imported_and_a_broken_one_is_passed_over(
    make_node: Callable[[], Node], port: int
) -> None:
    node = make_node()
    folder = node.root / "var/lib/rancher/k3s/agent/images"
    archive(folder / "a.tar", "registry/a:1")
    archive(folder / "b.tar.gz", "registry/b:1")
    (folder / "c.tar").write_text("not an archive")
    node.start("server", f"--https-listen-port={port}")
    assert node.ready()
    wait_for(lambda: node.call("ctr", "images", "ls").stdout.split() == ["registry/a:1", "registry/b:1"])
    assert "Error encountered while importing" in node.read("log")


def test_a_program_for_another_architecture_does_not_start(make_node: Callable[[], Node]) -> None:
    node = make_node()
    node.write("etc/k3s-standin.json", json.dumps({"built_for": "riscv64"}))
    done = node.call("--version")
    assert (done.returncode, "Exec format error" in done.stderr) == (126, True)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on PATH")
def test_the_real_kubectl_maintains_a_node(server: Node) -> None:
    home = {"HOME": str(server.root), "KUBECONFIG": str(server.root / "etc/rancher/k3s/k3s.yaml")}

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **home}, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    server.write("var/lib/rancher/k3s/server/manifests/web.yaml", WEB)
    wait_for(lambda: kubectl("get", "pods").count("web-") == 2)
    assert kubectl("label", "node", "pi-0", "gpu=true") == "node/pi-0 labeled\n"
    assert kubectl("taint", "node", "pi-0", "sgx=yes:NoSchedule") == "node/pi-0 tainted\n"
    assert "node/pi-0 drained" in kubectl("drain", "pi-0", "--force", "--ignore-daemonsets", "--timeout=20s")
    assert kubectl("uncordon", "pi-0") == "node/pi-0 uncordoned\n"
