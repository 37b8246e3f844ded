"""The stand-in for K3s as processes on loopback: it must behave as K3s does, and fail as K3s fails."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.clients.kubernetes import KubernetesClient, KubernetesError, load_kubeconfig
from tests.unit.standins.k3s_machine import CGROUPS, PASSWORD, Node, full_token, get, join, states, wait_for


def test_the_version_says_what_it_is(make_node: Callable[[], Node]) -> None:
    done = make_node().call("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("k3s version v1.")
    assert "stand-in" in done.stdout


def test_server_files_are_private_and_the_token_names_the_ca(server: Node, port: int) -> None:
    import hashlib

    digest = hashlib.sha256(get(port, "/cacerts")[1].encode()).hexdigest()
    assert full_token(server) == f"K10{digest}::server:{PASSWORD}"
    for path in ("etc/rancher/k3s/k3s.yaml", "var/lib/rancher/k3s/server/token", "etc/rancher/node/password"):
        assert (server.root / path).stat().st_mode & 0o777 == 0o600


def test_nobody_gets_in_without_a_certificate_or_token(server: Node, port: int) -> None:
    wrong = base64.b64encode(b"node:wrong").decode()
    right = base64.b64encode(f"node:{PASSWORD}".encode()).decode()
    assert get(port, "/ping") == (200, "pong")
    assert get(port, "/api/v1/nodes")[0] == 401
    assert get(port, "/readyz", Authorization=f"Basic {wrong}")[0] == 401
    assert get(port, "/readyz", Authorization=f"Basic {right}") == (200, "ok")
    assert get(port, "/api/v1/nodes", Authorization=f"Basic {right}")[0] == 403


def test_an_agent_joins_and_is_seen_leaving(server: Node, make_node: Callable[[], Node], port: int) -> None:
    agent = make_node()
    join(agent, "pi-1", port, full_token(server))
    assert agent.ready(), agent.read("log")
    assert states(server) == {"pi-0": True, "pi-1": True}
    assert agent.stop() == 0
    wait_for(lambda: states(server) == {"pi-0": True, "pi-1": False})


def test_an_agent_waits_for_its_server(make_node: Callable[[], Node], port: int) -> None:
    agent, late = make_node(), make_node()
    join(agent, "pi-1", port, PASSWORD)
    assert not agent.ready(0.8)
    late.write("etc/rancher/k3s/config.yaml", f"node-name: pi-0\ntoken: {PASSWORD}\nhttps-listen-port: {port}\n")
    late.start("server")
    assert agent.ready(), agent.read("log")
    assert "does not include a CA hash" in agent.read("log")


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("K10" + "0" * 64 + "::server:" + PASSWORD, "token CA hash does not match the Cluster CA certificate hash"),
        ("another-password", "401 Unauthorized"),
    ],
)
def test_a_wrong_token_keeps_an_agent_out(
    server: Node, make_node: Callable[[], Node], port: int, token: str, complaint: str
) -> None:
    agent = make_node()
    join(agent, "pi-1", port, token)
    wait_for(lambda: complaint in agent.read("log"))
    assert not agent.ready(0.2)
    assert list(states(server)) == ["pi-0"]


def test_a_machine_made_anew_is_rejected_until_its_node_is_deleted(
    server: Node, make_node: Callable[[], Node], port: int
) -> None:
    first = make_node()
    join(first, "pi-1", port, full_token(server))
    assert first.ready()
    first.close()
    second = make_node()
    join(second, "pi-1", port, full_token(server))
    wait_for(lambda: "Node password rejected" in second.read("log"))
    done = server.call("kubectl", "delete", "node", "pi-1", "pi-9", "--ignore-not-found", "--wait=false")
    assert (done.returncode, done.stdout) == (0, 'node "pi-1" deleted\n')
    assert second.ready(), second.read("log")


def test_a_restarted_server_knows_its_nodes_and_keeps_its_ca(server: Node, port: int) -> None:
    before, token = get(port, "/cacerts"), full_token(server)
    assert server.stop() == 0
    server.start("server")
    assert server.ready(), server.read("log")
    assert (get(port, "/cacerts"), full_token(server)) == (before, token)
    assert states(server) == {"pi-0": True}


def test_a_changed_password_is_fatal(server: Node, port: int) -> None:
    server.stop()
    server.write("etc/rancher/k3s/config.yaml", f"token: other\nhttps-listen-port: {port}\n")
    done = server.call("server")
    assert done.returncode == 1
    assert "bootstrap data already found and encrypted with different token" in done.stderr


@pytest.mark.parametrize("role", ["server", "agent"])
@pytest.mark.parametrize("version", [1, 2])
def test_no_memory_cgroup_is_fatal(make_node: Callable[[], Node], role: str, version: int) -> None:
    node = make_node()
    node.write(
        "etc/rancher/k3s/config.yaml", "token: x\n" + ("server: https://127.0.0.1:1\n" if role == "agent" else "")
    )
    if version == 1:
        node.write("proc/cgroups", CGROUPS.format(0))
    else:
        node.write("sys/fs/cgroup/cgroup.controllers", "cpu io pids\n")
    done = node.call(role)
    assert done.returncode == 1
    assert "level=fatal" in done.stderr
    assert "failed to find memory cgroup" in done.stderr


def test_an_unknown_option_is_fatal(make_node: Callable[[], Node]) -> None:
    node = make_node()
    node.write("etc/rancher/k3s/config.yaml", "no-such-thing: 1\n")
    done = node.call("server")
    assert (done.returncode, "flag provided but not defined: -no-such-thing" in done.stderr) == (1, True)


def test_faults_can_be_switched_on(make_node: Callable[[], Node], port: int) -> None:
    node = make_node()
    node.write("etc/k3s-standin.json", json.dumps({"start_delay": 0.5, "fail": "no space left on device"}))
    started = time.monotonic()
    done = node.call("server", f"--https-listen-port={port}")
    assert time.monotonic() - started >= 0.5
    assert 'level=fatal msg="no space left on device"' in done.stderr


def test_a_node_that_says_it_is_not_ready_is_shown_so(server: Node) -> None:
    server.write("etc/k3s-standin.json", json.dumps({"heartbeat_interval": 0.1, "not_ready": "runtime is down"}))
    wait_for(lambda: states(server) == {"pi-0": False})


def test_a_file_of_faults_that_is_being_written_ends_nothing(server: Node) -> None:
    assert server.process is not None
    server.write("etc/k3s-standin.json", "")
    # Longer than two heartbeats.
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(0.3)
    server.write("etc/k3s-standin.json", json.dumps({"heartbeat_interval": 0.1, "not_ready": "runtime is down"}))
    wait_for(lambda: states(server) == {"pi-0": False})


def test_another_ca_is_refused_by_our_client(server: Node, make_node: Callable[[], Node]) -> None:
    other = make_node()
    other.start("server", "--https-listen-port", "0")
    assert other.ready(), other.read("log")
    stranger = other.read("etc/rancher/k3s/k3s.yaml")
    address = next(line for line in server.read("etc/rancher/k3s/k3s.yaml").splitlines() if "server:" in line)
    other.write("kubeconfig", "\n".join(address if "server:" in line else line for line in stranger.splitlines()))
    with pytest.raises(KubernetesError, match="certificate that its kubeconfig does not know"):
        KubernetesClient(load_kubeconfig(other.root / "kubeconfig"), 5).read_nodes()


@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on PATH")
def test_the_real_kubectl_understands_it(server: Node, make_node: Callable[[], Node], port: int) -> None:
    agent = make_node()
    join(agent, "pi-1", port, full_token(server))
    assert agent.ready()

    def kubectl(*arguments: str) -> str:
        home = {"HOME": str(server.root), "KUBECONFIG": str(server.root / "etc/rancher/k3s/k3s.yaml")}
        done = subprocess.run(
            ["kubectl", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **home},
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = [line.split()[:3] for line in kubectl("get", "nodes").splitlines()]
    assert rows == [["NAME", "STATUS", "ROLES"], ["pi-0", "Ready", "control-plane,master"], ["pi-1", "Ready", "<none>"]]
    assert "INTERNAL-IP" in kubectl("get", "nodes", "-o", "wide")
    listed: dict[str, Any] = json.loads(kubectl("get", "nodes", "-o", "json", "-l", "layer=edge"))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["pi-0"]
    assert "standin" in kubectl("version")
    assert kubectl("delete", "node", "pi-1") == 'node "pi-1" deleted\n'
    assert kubectl("get", "nodes", "-o", "name") == "node/pi-0\n"
