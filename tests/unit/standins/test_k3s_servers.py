"""Several servers of the stand-in for K3s: joining, a majority, and what is said without one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.standins.k3s_machine import PASSWORD, Node, full_token, get, join, states, wait_for

FAST = json.dumps({"heartbeat_interval": 0.1, "grace_period": 1})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Trio:
    """Three servers on three ports of loopback."""

    def __init__(self, make_node: Callable[[], Node]) -> None:
        self.nodes = [make_node() for _ in range(3)]
        self.ports = [free_port() for _ in range(3)]
        self.configure(0, "cluster-init: true\n")
        self.start(0)
        token = full_token(self.nodes[0])
        for index in (1, 2):
            self.configure(index, f"server: https://127.0.0.1:{self.ports[0]}\n", token)
            self.start(index)

    def configure(self, index: int, more: str, token: str = PASSWORD) -> None:
        base = f"node-name: pi-{index}\ntoken: {token}\nhttps-listen-port: {self.ports[index]}\nnode-ip: 127.0.0.1\n"
        self.nodes[index].write("etc/rancher/k3s/config.yaml", base + more)

    def start(self, index: int) -> None:
        self.nodes[index].start("server")
        assert self.nodes[index].ready(), self.nodes[index].read("log")

    def members(self, index: int) -> list[str]:
        return list(json.loads(self.nodes[index].read("var/lib/rancher/k3s/server/db/state.json"))["members"])


@pytest.fixture
def trio(make_node: Callable[[], Node]) -> Trio:
    return Trio(make_node)


def test_three_servers_are_one_cluster_whomever_one_asks(trio: Trio) -> None:
    everybody = {f"pi-{index}": True for index in range(3)}
    wait_for(lambda: all(states(node) == everybody for node in trio.nodes))
    assert len({get(port, "/cacerts") for port in trio.ports}) == 1
    roles = json.loads(trio.nodes[2].call("kubectl", "get", "node", "pi-2", "-o", "json").stdout)["metadata"]["labels"]
    assert {"node-role.kubernetes.io/etcd", "node-role.kubernetes.io/control-plane"} <= roles.keys()


def test_one_server_may_go_and_the_others_still_take_changes(trio: Trio, make_node: Callable[[], Node]) -> None:
    trio.nodes[0].stop()
    wait_for(lambda: trio.nodes[1].call("kubectl", "cordon", "pi-0").returncode == 0)
    assert "SchedulingDisabled" in trio.nodes[2].call("kubectl", "get", "nodes").stdout
    agent = make_node()
    join(agent, "pi-9", trio.ports[2], full_token(trio.nodes[2]))
    assert agent.ready(), agent.read("log")
    trio.start(0)
    wait_for(lambda: states(trio.nodes[0]).get("pi-9", False))


def test_without_a_majority_nothing_is_answered_until_it_is_back(trio: Trio) -> None:
    trio.nodes[1].stop()
    trio.nodes[2].stop()
    wait_for(lambda: "etcdserver: request timed out" in trio.nodes[0].call("kubectl", "get", "nodes").stderr)
    trio.nodes[1].start("server")
    assert trio.nodes[1].ready(), trio.nodes[1].read("log")
    wait_for(lambda: len(states(trio.nodes[0])) == 3)


def test_a_server_alone_waits_for_the_others_before_it_is_ready(trio: Trio) -> None:
    for node in trio.nodes:
        node.stop()
    trio.nodes[2].start("server")
    assert not trio.nodes[2].ready(1)
    assert "Failed to test etcd connection: 1 of 3 members answer" in trio.nodes[2].read("log")
    trio.nodes[0].start("server")
    assert trio.nodes[0].ready()
    assert trio.nodes[2].ready()


def test_a_server_that_is_deleted_as_a_node_is_no_member_any_more(trio: Trio) -> None:
    trio.nodes[2].stop()
    wait_for(lambda: trio.nodes[0].call("kubectl", "delete", "node", "pi-2").returncode == 0)
    assert trio.members(0) == ["pi-0", "pi-1"]


@pytest.mark.parametrize(
    ("more", "name", "token", "complaint"),
    [
        ("", "pi-1", "", "duplicate node name found, please use a unique name for this node"),
        ("", "pi-3", "wrong", "401 Unauthorized"),
        ("", "pi-3", "K10" + "0" * 64 + "::server:x", "token CA hash does not match the Cluster CA certificate hash"),
        (
            "cluster-cidr: 10.9.0.0/16\n",
            "pi-3",
            "",
            "critical configuration value mismatch between servers: cluster-cidr",
        ),
    ],
)
def test_a_further_server_is_refused_for_a_reason(
    trio: Trio, make_node: Callable[[], Node], more: str, name: str, token: str, complaint: str
) -> None:
    other = make_node()
    other.write(
        "etc/rancher/k3s/config.yaml",
        f"node-name: {name}\ntoken: {token or PASSWORD}\nhttps-listen-port: {free_port()}\n"
        f"server: https://127.0.0.1:{trio.ports[1]}\n{more}",
    )
    done = other.call("server")
    assert done.returncode == 1
    assert complaint in done.stderr


def test_a_server_without_embedded_etcd_cannot_be_joined(
    server: Node, make_node: Callable[[], Node], port: int
) -> None:
    other = make_node()
    other.write(
        "etc/rancher/k3s/config.yaml",
        f"node-name: pi-3\ntoken: {PASSWORD}\nserver: https://127.0.0.1:{port}\nhttps-listen-port: {free_port()}\n",
    )
    done = other.call("server")
    assert done.returncode == 1
    assert "not started with cluster-init" in done.stderr


def test_a_single_server_becomes_the_first_of_several(server: Node, port: int) -> None:
    server.stop()
    config = Path(server.root / "etc/rancher/k3s/config.yaml")
    config.write_text(config.read_text() + "cluster-init: true\n")
    server.start("server")
    assert server.ready(), server.read("log")
    assert states(server) == {"pi-0": True}
    assert server.call("etcd-snapshot", "save", "--name", "before").returncode == 0
    assert "before-" in server.call("etcd-snapshot", "ls").stdout
