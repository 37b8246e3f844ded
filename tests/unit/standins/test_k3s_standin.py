"""The stand-in for K3s as processes on loopback: it must behave as K3s does, and fail as K3s fails."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clients.kubernetes import KubernetesClient, KubernetesError, load_kubeconfig
from orchestrator.resources import standin_path

PROGRAM = standin_path("k3s_standin.py")
CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t{}\n"
PASSWORD = "a-cluster-password"


class Node:
    """One machine: a folder that stands for its root, and the process that runs there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None
        self.notifications: socket.socket | None = None
        self.write("proc/cgroups", CGROUPS.format(1))
        self.write("etc/k3s-standin.json", json.dumps({"heartbeat_interval": 0.1, "grace_period": 1}))

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("K3S_") and k != "KUBECONFIG"}
        return {**kept, "K3S_STANDIN_ROOT": str(self.root)}

    def start(self, role: str, *arguments: str) -> None:
        path = self.root / "notify"
        path.unlink(missing_ok=True)
        if self.notifications:
            self.notifications.close()
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(path))
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), role, *arguments],
                stdout=log,
                stderr=log,
                env={**self.environment, "NOTIFY_SOCKET": str(path)},
            )

    def ready(self, timeout: float = 20) -> bool:
        assert self.notifications is not None
        self.notifications.settimeout(timeout)
        try:
            return self.notifications.recv(100) == b"READY=1"
        except TimeoutError:
            return False

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=30, check=False)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if self.notifications:
            self.notifications.close()


@pytest.fixture
def make_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Node]]:
    nodes: list[Node] = []

    def make() -> Node:
        # A socket's path may have 107 characters only; pytest's own folders can be longer.
        nodes.append(Node(tmp_path_factory.mktemp("n")))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def server(make_node: Callable[[], Node], port: int) -> Node:
    node = make_node()
    node.write(
        "etc/rancher/k3s/config.yaml",
        f'# ours\nnode-name: pi-0\ntoken: "{PASSWORD}"\nhttps-listen-port: {port}\nnode-label:\n- "layer=edge"\n',
    )
    node.start("server")
    assert node.ready(), node.read("log")
    return node


def join(node: Node, name: str, port: int, token: str) -> None:
    node.write("etc/rancher/k3s/config.yaml", f"server: https://127.0.0.1:{port}\ntoken: {token}\nnode-name: {name}\n")
    node.start("agent")


def full_token(server: Node) -> str:
    return server.read("var/lib/rancher/k3s/server/node-token").strip()


def states(server: Node) -> dict[str, bool]:
    client = KubernetesClient(load_kubeconfig(server.root / "etc/rancher/k3s/k3s.yaml"), 5)
    return {node.name: node.ready for node in client.read_nodes()}


def wait_for(check: Callable[[], bool], timeout: float = 15) -> None:
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


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


def test_manifests_are_recorded(server: Node) -> None:
    folder = "var/lib/rancher/k3s/server/manifests"
    server.write(f"{folder}/app.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nkind: Secret\n")
    path = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons/app"

    def kinds() -> list[str]:
        done = server.call("kubectl", "get", "--raw", path)
        return list(json.loads(done.stdout)["spec"]["kinds"]) if done.returncode == 0 else []

    wait_for(lambda: kinds() == ["ConfigMap", "Secret"])


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
