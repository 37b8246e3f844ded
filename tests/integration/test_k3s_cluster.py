"""Clusters over simulated Raspberry Pis: several servers, labels, registries, upgrades, and what must be refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from orchestrator.errors import OperationError
from orchestrator.executors.ansible import AnsibleExecutor
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.planning.actions import Action
from orchestrator.planning.observation import Presence
from orchestrator.standin_files import standin_path
from orchestrator.topology.model import Value
from tests.integration.k3s_bench import SITE, Bench, away, nodes, removed_in_the_end

pytestmark = pytest.mark.engine

NODES = ("pi-0", "pi-1", "pi-2")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three Pis with a cluster of one server."""
    with removed_in_the_end(Bench(tmp_path_factory.mktemp("cluster"))) as made:
        for index in range(3):
            made.make(index)
        made.site()
        yield made


def started(bench: Bench) -> list[str]:
    """When each machine's service was started last."""
    return [bench.shell(i, "systemctl show -P ActiveEnterTimestampMonotonic k3s k3s-agent") for i in range(3)]


def site_of(bench: Bench, servers: int = 1, gone: Sequence[str] = (), **inputs: Value) -> OperationResult:
    """Play over a cluster of several servers; nothing answers for some machines."""
    request = bench.request("playbooks/site.yml", {**SITE, **inputs})
    for address in gone:
        request = away(request, address)
    instance = replace(request.instance, properties={"servers": servers})
    return AnsibleExecutor().run(replace(request, instance=instance))


def refusal(bench: Bench, **inputs: Value) -> str:
    """What a play says that fails, in bounded time."""
    began = time.monotonic()
    with pytest.raises(OperationError) as caught:
        bench.site(**inputs)
    assert time.monotonic() - began < 90
    return caught.value.detail


def converges(bench: Bench) -> None:
    """A run after mending brings every node back."""
    bench.site()
    found = nodes(bench)
    assert sorted(found) == list(NODES)
    assert all(node["status"]["conditions"][-1]["status"] == "True" for node in found.values())


def recorded(bench: Bench, attributes: Mapping[str, Value], **inputs: Value) -> OperationRequest:
    """A request for a cluster that is there, with what a play reported of it."""
    request = bench.request("playbooks/site.yml", {**SITE, **inputs})
    record = replace(request.record, attributes={**request.record.attributes, **attributes})
    return replace(request, action=Action.UPDATE, record=record)


def newer_standin(version: str) -> str:
    """The stand-in as another release of K3s."""
    return str(standin_path("k3s_standin", version=version))


def test_labels_and_taints_change_without_a_restart_and_those_of_others_stay(bench: Bench) -> None:
    before = started(bench)
    bench.shell(0, "sudo k3s kubectl label node pi-1 owner=somebody")
    assert bench.site(
        k3s_node_labels={"layer": "far", "site": "roof"}, k3s_node_taints=["camera=yes:NoSchedule"]
    ).changed
    found = nodes(bench)
    assert all(found[name]["metadata"]["labels"]["site"] == "roof" for name in NODES)
    assert found["pi-2"]["metadata"]["labels"]["layer"] == "far"
    assert found["pi-2"]["spec"]["taints"] == [{"key": "camera", "value": "yes", "effect": "NoSchedule"}]
    assert bench.site().changed
    found = nodes(bench)
    assert "site" not in found["pi-1"]["metadata"]["labels"]
    assert found["pi-1"]["metadata"]["labels"]["owner"] == "somebody"
    assert not found["pi-2"]["spec"].get("taints")
    assert not bench.site().changed
    assert started(bench) == before


def test_registries_are_written_for_root_only_and_taken_away_again(bench: Bench) -> None:
    registries: Value = {"configs": {"registry.example": {"auth": {"username": "u", "password": "secret:edge-token"}}}}
    assert bench.site(k3s_registries=registries).changed
    for index in range(3):
        assert bench.shell(index, "sudo stat -c %a /etc/rancher/k3s/registries.yaml").strip() == "600"
        assert "token-of-the-test-cluster" in bench.shell(index, "sudo cat /etc/rancher/k3s/registries.yaml")
    assert bench.site().changed
    assert bench.shell(2, "sudo ls /etc/rancher/k3s").split() == ["config.yaml", "config.yaml.d"]


@pytest.mark.slow
def test_a_token_that_was_changed_in_the_inventory_is_refused(bench: Bench) -> None:
    said = refusal(bench, k3s_token="another-token-of-the-cluster")
    assert "pi-0 failed" in said
    assert "is not the one that the cluster of pi-0 was made with" in said
    assert "k3s token rotate" in said
    assert "another-token-of-the-cluster" not in said
    converges(bench)


def test_an_agent_with_a_wrong_token_is_named_with_the_cause(bench: Bench) -> None:
    said = refusal(bench, k3s_extra_agent_config={"token": "wrong"})
    assert "pi-1 failed" in said
    assert "pi-2 failed" in said
    assert "refuses the token" in said
    converges(bench)


@pytest.mark.slow
def test_an_agent_with_a_wrong_server_address_is_named_in_bounded_time(bench: Bench) -> None:
    said = refusal(bench, k3s_agent_server_url="https://127.0.0.1:7", k3s_agent_start_timeout=6)
    assert "pi-1 failed" in said
    assert "Nothing answers as a K3s server at https://127.0.0.1:7" in said
    assert "Its journal ends with" in said
    converges(bench)


def test_an_agent_is_not_started_without_its_server(bench: Bench) -> None:
    bench.shell(0, """echo '{"fail": "no space left on device"}' | sudo tee /etc/k3s-standin.json""")
    bench.shell(0, "sudo systemctl stop k3s")
    said = refusal(bench)
    assert "pi-0 failed" in said
    assert "The disk is full." in said
    assert "pi-1" not in said
    bench.shell(0, "sudo rm /etc/k3s-standin.json")
    converges(bench)


@pytest.mark.slow
def test_a_machine_whose_name_another_one_uses_is_refused(bench: Bench) -> None:
    bench.shell(1, "sudo systemctl stop k3s-agent; sudo rm -rf /etc/rancher/node")
    bench.shell(
        2, "sudo sed -i 's/pi-2/pi-1/' /etc/rancher/k3s/config.yaml; sudo k3s kubectl version >/dev/null 2>&1; true"
    )
    bench.shell(0, "sudo k3s kubectl delete node pi-1")
    bench.shell(2, "sudo systemctl restart k3s-agent && sleep 2")
    said = refusal(bench, k3s_server_forget_timeout=3)
    assert "pi-1 of the inventory has never joined the cluster of pi-0" in said
    assert "under the same name another machine is in it and alive" in said
    # The other machine gets its own name back; that its node is deleted is all that is to be done in the cluster.
    bench.shell(2, "sudo systemctl stop k3s-agent")
    bench.shell(0, "sudo k3s kubectl delete node pi-1")
    converges(bench)


def test_a_configuration_that_somebody_changed_is_seen_and_mended(bench: Bench) -> None:
    result = bench.site()
    request = recorded(bench, result.attributes)
    executor = AnsibleExecutor()
    assert executor.observe(request).presence is Presence.PRESENT
    bench.shell(1, "echo 'debug: true' | sudo tee -a /etc/rancher/k3s/config.yaml")
    seen = executor.observe(request)
    assert seen.presence is Presence.DEGRADED
    assert [difference.name for difference in seen.differences] == ["nodes.pi-1.config.yaml"]
    assert bench.site().changed
    assert executor.observe(request).presence is Presence.PRESENT


def test_another_version_is_an_upgrade_machine_by_machine(bench: Bench) -> None:
    attributes = {**bench.site(k3s_version="v1.31.5+k3s1").attributes}
    assert attributes["k3s_version_asked"] == "v1.31.5+k3s1"
    wanted: dict[str, Value] = {"k3s_version": "v1.32.1+k3s1", "k3s_binary_file": newer_standin("v1.32.1")}
    wanted["upgrade_playbook"] = "playbooks/upgrade.yml"
    # As an upgrade leaves a node that was cut off while it was drained.
    bench.shell(0, "sudo k3s kubectl annotate node pi-2 continuum-deploy/turn=ours; sudo k3s kubectl cordon pi-2")
    bench.shell(0, "sudo k3s kubectl cordon pi-1")
    lines: list[str] = []
    result = AnsibleExecutor().run(replace(recorded(bench, attributes, **wanted), progress=lines.append))
    assert result.attributes["k3s_version"] == "v1.32.1+k3s1-standin"
    assert result.attributes["k3s_version_asked"] == "v1.32.1+k3s1"
    assert lines.count("Have its work done by others") == 3
    found = nodes(bench)
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in found.values()} == {"v1.32.1+k3s1-standin"}
    assert [bool(found[name]["spec"].get("unschedulable")) for name in NODES] == [False, True, False]
    bench.shell(0, "sudo k3s kubectl uncordon pi-1")
    assert "k3s-next" not in bench.shell(1, "ls /usr/local/bin")
    with pytest.raises(OperationError, match=r"v1\.31\.5.*is older\. K3s does not go back"):
        AnsibleExecutor().run(recorded(bench, result.attributes, **{**wanted, **SITE, "k3s_version": "v1.31.5+k3s1"}))
    skipping = {**wanted, "k3s_version": "v1.34.1+k3s1", "k3s_binary_file": newer_standin("v1.34.1")}
    with pytest.raises(OperationError, match="a minor version would be left out"):
        AnsibleExecutor().run(recorded(bench, result.attributes, **skipping))
    assert nodes(bench)["pi-0"]["status"]["nodeInfo"]["kubeletVersion"] == "v1.32.1+k3s1-standin"


def test_two_servers_are_refused_with_the_reason(bench: Bench) -> None:
    with pytest.raises(OperationError, match="the majority of two is two"):
        site_of(bench, servers=2)


@pytest.mark.slow
def test_three_servers_keep_the_cluster_and_take_back_one_that_was_made_anew(bench: Bench) -> None:
    AnsibleExecutor().run(bench.request("playbooks/reset.yml", {"k3s_cluster_name": "edge"}, "delete"))
    assert site_of(bench, servers=3).changed
    found = nodes(bench, 2)
    assert sorted(found) == list(NODES)
    assert all("node-role.kubernetes.io/etcd" in node["metadata"]["labels"] for node in found.values())
    assert not site_of(bench, servers=3).changed, bench.said()
    for index in (1, 0):
        bench.remove(index)
        bench.make(index)
        assert site_of(bench, servers=3).changed
        assert sorted(nodes(bench, index)) == list(NODES)
    assert not site_of(bench, servers=3).changed, bench.said()


@pytest.fixture
def three_servers(bench: Bench) -> Bench:
    """The machines as three servers, whichever tests ran before."""
    if not all("node-role.kubernetes.io/etcd" in node["metadata"]["labels"] for node in nodes(bench).values()):
        AnsibleExecutor().run(bench.request("playbooks/reset.yml", {"k3s_cluster_name": "edge"}, "delete"))
        site_of(bench, servers=3)
    return bench


@pytest.mark.slow
def test_a_server_that_is_away_is_done_without_while_a_majority_is_there(three_servers: Bench) -> None:
    result = site_of(three_servers, 3, ["pi[2]"])
    assert result.attributes["degraded"] == ["pi[2]"]
    assert not result.changed
    assert sorted(nodes(three_servers)) == list(NODES), "what is away is not taken out of the cluster"
    with pytest.raises(OperationError) as caught:
        site_of(three_servers, 3, ["pi[1]", "pi[2]"])
    assert caught.value.transient, "they may come back"
    assert "Only pi-0 of 3 servers could be reached and prepared" in caught.value.detail
    assert "pi-1 cannot be reached" in caught.value.detail
    assert "pi-2 cannot be reached" in caught.value.detail
    completed = site_of(three_servers, 3)
    assert (completed.attributes.get("degraded", []), completed.changed) == ([], False)
