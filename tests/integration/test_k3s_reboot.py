"""Rebooting a running cluster machine by machine: simulated Raspberry Pis and the stand-in for K3s."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from orchestrator.remote.ssh import run
from orchestrator.standin_files import standin_path
from tests.plays_by_hand import play, play_well
from tests.simulated_boards import Boards, simulated_boards

pytestmark = pytest.mark.engine

STANDIN = standin_path("k3s_standin")


# One pod on each of two machines.
WORK = json.dumps(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "work"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "work", "image": "work:1"}]}}},
    }
)


def shell(boards: Boards, index: int, command: str) -> str:
    result = run(boards.targets[index], command, 60)
    assert result.exit_code == 0, result
    return result.stdout.strip()


def boots(boards: Boards) -> list[str]:
    return [shell(boards, index, "cat /proc/sys/kernel/random/boot_id") for index in range(len(boards.targets))]


def services(boards: Boards) -> list[str]:
    """When K3s was started on each."""
    when = "systemctl show -P ActiveEnterTimestampMonotonic k3s k3s-agent"
    return [shell(boards, index, when) for index in range(len(boards.targets))]


def unschedulable(boards: Boards) -> dict[str, bool]:
    """Whether each node is cordoned; none may be in the middle of a turn."""
    nodes = json.loads(shell(boards, 0, "sudo k3s kubectl get nodes -o json"))["items"]
    assert not [n for n in nodes if "continuum-deploy/turn" in n["metadata"].get("annotations", {})]
    return {node["metadata"]["name"]: bool(node["spec"].get("unschedulable")) for node in nodes}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    with simulated_boards(tmp_path_factory.mktemp("reboot"), 2) as boards:
        play_well("site.yml", boards.inventory, {"k3s_binary_file": str(STANDIN)})
        yield boards


def test_every_machine_is_rebooted_once_agents_first_and_is_ready_with_its_new_boot(cluster: Boards) -> None:
    before = boots(cluster)
    shell(cluster, 0, "sudo k3s kubectl cordon pi-1")
    played = play_well("reboot.yml", cluster.inventory)
    assert unschedulable(cluster) == {"pi-0": False, "pi-1": True}, "its owner's cordon stays"
    shell(cluster, 0, "sudo k3s kubectl uncordon pi-1")
    after = boots(cluster)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False]
    assert re.findall(r"TASK \[k3s_reboot : Reboot\].*\n\w+: \[([\w-]+)\]", played.output) == ["pi-1", "pi-0"]
    nodes = shell(cluster, 0, "sudo /usr/local/bin/k3s kubectl get nodes -o json")
    assert all(boot in nodes for boot in after)
    started = services(cluster)
    again = play_well("site.yml", cluster.inventory, {"k3s_binary_file": str(STANDIN)})
    assert again.total("changed") == 0, again.output
    assert (boots(cluster), services(cluster)) == (after, started)


def test_nothing_is_rebooted_while_another_node_is_not_ready(cluster: Boards) -> None:
    before = boots(cluster)
    shell(cluster, 0, """echo '{"not_ready": "container runtime is down"}' | sudo tee /etc/k3s-standin.json; sleep 2""")
    try:
        played = play("reboot.yml", cluster.inventory, {"k3s_reboot_patience": 4})
    finally:
        shell(cluster, 0, "sudo rm /etc/k3s-standin.json")
    assert played.exit_code != 0
    assert "pi-1 was not rebooted: not every other node is Ready: pi-0 (container runtime is down)" in played.output
    assert boots(cluster) == before


@pytest.mark.slow
def test_a_machine_whose_work_cannot_be_moved_is_left_up(cluster: Boards) -> None:
    before = boots(cluster)
    shell(cluster, 0, f"echo '{WORK}' | sudo k3s kubectl apply -f -")
    shell(
        cluster,
        0,
        """timeout 20 sh -c 'until sudo k3s kubectl get pods -o json | grep -q "\\"pi-1\\""; do sleep 1; done'""",
    )
    shell(cluster, 0, """echo '{"drain_blocked": true}' | sudo tee /etc/k3s-standin.json""")
    try:
        played = play("reboot.yml", cluster.inventory, {"k3s_reboot_drain_timeout": 3})
    finally:
        shell(cluster, 0, "sudo rm /etc/k3s-standin.json; sudo k3s kubectl delete deployment work")
    assert played.exit_code != 0
    assert "The work of pi-1 could not be moved elsewhere within 3 s, and it goes on there" in played.output
    assert boots(cluster) == before
    assert unschedulable(cluster) == {"pi-0": False, "pi-1": False}


@pytest.mark.slow
def test_a_node_that_does_not_get_ready_again_stops_the_rest(cluster: Boards) -> None:
    before = boots(cluster)
    shell(cluster, 1, "sudo systemctl disable --quiet k3s-agent")
    try:
        played = play("reboot.yml", cluster.inventory, {"k3s_reboot_ready_timeout": 6})
    finally:
        shell(cluster, 1, "sudo systemctl enable --quiet --now k3s-agent")
    assert played.exit_code != 0
    assert "pi-1 was rebooted and came back, but its node" in played.output
    after = boots(cluster)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False), "the server is left up"
