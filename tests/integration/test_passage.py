"""The rule that lets machines of a network reach each other beside another engine's packet filter."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from docker.models.networks import Network

from orchestrator.clients.engine import connect, forget
from orchestrator.providers.local.passage import close_passage, open_passage

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at the packet filter"),
]


@pytest.fixture
def network() -> Iterator[Network]:
    made = connect().networks.create(f"passage-{uuid.uuid4().hex[:8]}", driver="bridge")
    yield made
    close_passage(made)
    made.remove()
    forget()


def rules(network: Network) -> list[str]:
    done = subprocess.run(
        ["/usr/sbin/iptables", "-S", "FORWARD"], capture_output=True, text=True, timeout=20, check=True
    )
    bridge = f"br-{(network.id or '')[:12]}"
    return [line for line in done.stdout.splitlines() if f"-i {bridge} -o {bridge} -j ACCEPT" in line]


def test_one_rule_comes_however_often_it_is_asked_for_and_goes(network: Network) -> None:
    subprocess.run(
        ["/usr/sbin/iptables", "-D", *rules(network)[0].split()[1:]] if rules(network) else ["true"],
        timeout=20,
        check=True,
    )
    assert rules(network) == []
    open_passage(network)
    open_passage(network)
    assert len(rules(network)) == 1
    close_passage(network)
    close_passage(network)
    assert rules(network) == []
