"""The stand-in for K3s as a process on loopback, in a folder that stands for a machine's root."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.clients.kubernetes import KubernetesClient, load_kubeconfig
from orchestrator.standin_files import standin_path

PROGRAM = standin_path("k3s_standin")
CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t2\t1\t{}\n"
PASSWORD = "a-cluster-password"


class Node:
    """One machine: a folder that stands for its root, and the process that runs there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.program = PROGRAM
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
                [sys.executable, str(self.program), role, *arguments],
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
