"""Machines for the stand-in for K3s."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.unit.standins.k3s_machine import PASSWORD, Node


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
