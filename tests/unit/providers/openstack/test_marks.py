"""How what is ours is known again, and how machines are told, from what the services say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import ProviderError
from orchestrator.providers.access_rules import CLUSTER_PORTS, Rule, divide, members_of
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest, MachineState
from orchestrator.providers.cloud_parts import label_changes
from orchestrator.providers.openstack.api import NEUTRON, NOVA, versioned
from orchestrator.providers.openstack.flavors import Flavor
from orchestrator.providers.openstack.images import Image
from orchestrator.providers.openstack.marks import (
    Mark,
    machine_metadata,
    mark_of,
    mark_of_key,
    part_tags,
    set_labels,
    the_one,
)
from orchestrator.providers.openstack.security import _asked, _rule, rule_texts
from orchestrator.providers.openstack.servers import (
    Surroundings,
    failed,
    is_gone,
    launch_body,
    machine_of,
    never_ran,
)
from orchestrator.remote.keys import generate_key

HOST_KEY, AUTHORIZED = generate_key()
DEPLOYMENT = DeploymentTag("shop", "0123456789abcdef0123456789abcdef")
REQUEST = MachineRequest(
    DEPLOYMENT, "edge[0]", "token", "edge-0", "amd64", 2, 4096, AUTHORIZED, host_key=HOST_KEY,
    access=Access(group="edge"), settings={"tags": {"team": "vision", "long": "x" * 80, "list": "a,b"}},
)  # fmt: skip
NAME = "continuum-shop-01234567"


def test_a_description_and_tags_say_the_same() -> None:
    mark = Mark(DEPLOYMENT, "edge[0]")
    assert mark_of({"description": mark.text, "tags": []}) == mark
    assert mark_of({"description": "changed by hand", "tags": part_tags(REQUEST, "edge[0]")}) == mark
    assert mark_of({"description": Mark(DEPLOYMENT).text}) == Mark(DEPLOYMENT)
    assert mark_of_key({"public_key": f"ssh-ed25519 AAAA {Mark(DEPLOYMENT).text}"}) == Mark(DEPLOYMENT)
    for others in ({}, {"description": "continuum"}, {"description": None, "tags": ["continuum", "a=b"]}):
        assert mark_of(others) is None
    assert mark_of_key({"public_key": "ssh-ed25519 AAAA me@home"}) is None


def test_tags_are_short_enough_for_every_cloud_and_metadata_has_all() -> None:
    tags = part_tags(REQUEST, "edge[0]")
    assert "team=vision" in tags
    assert f"continuum:lineage={DEPLOYMENT.lineage}" in tags
    assert all(len(tag) <= 60 and not set(tag) & set(",/") for tag in tags)
    told = machine_metadata(REQUEST)
    assert (told["list"], told["continuum:token"]) == ("a,b", "token")
    assert told["continuum:host-key"].startswith("ssh-ed25519 AAAA")
    assert told["continuum:name"] == f"{NAME}-edge-0"
    adopted = machine_metadata(REQUEST, "by-hand")
    assert adopted["continuum:name"] == "by-hand"
    assert "continuum:host-key" not in adopted


def test_labels_are_changed_as_far_as_they_have_to_be() -> None:
    told = machine_metadata(REQUEST)
    assert label_changes(told, REQUEST) == ({}, [])
    other = replace(REQUEST, settings={"tags": {"team": "sound", "cost": 1}})
    wanted, surplus = label_changes(told, other)
    assert wanted == {"team": "sound", "cost": "1", "continuum:labels": "cost,team"}
    assert surplus == ["list", "long"]


def test_labels_that_a_hand_changed_are_seen_and_others_are_not() -> None:
    told = machine_metadata(REQUEST) | {"team": "sales", "added": "by a tool"}
    del told["list"]
    assert set_labels({"name": "renamed", "metadata": told}) == {
        "name": "renamed", "list": None, "long": "x" * 80, "team": "sales",
    }  # fmt: skip


def test_of_two_that_claim_the_same_both_are_named_and_a_namesake_is_left() -> None:
    mine = [{"id": str(n), "name": f"{NAME}-network", "description": Mark(DEPLOYMENT).text} for n in (1, 2)]
    others = {"id": "3", "name": f"{NAME}-network", "description": "somebody's"}
    assert the_one(mine[:1], REQUEST, "network", "network") == mine[0]
    assert the_one([*mine[:1], others], REQUEST, "network", "network") == mine[0]
    with pytest.raises(ProviderError, match="claim to be the same") as both:
        the_one(mine, REQUEST, "network", "network")
    assert "1, 2" in both.value.detail
    with pytest.raises(ProviderError, match="name of ours is taken"):
        the_one([others], REQUEST, "network", "network")
    assert the_one([{**others, "name": "else"}], REQUEST, "network", "network") is None


def test_a_machine_is_asked_for_with_all_that_it_carries_in_one_call() -> None:
    flavor, image = Flavor("f", "m1", 2, 4096, 40), Image("i", min_disk=2)
    body = launch_body(REQUEST, image, flavor, "net", ["g1", "g2"], "key")["server"]
    assert (body["name"], body["description"]) == (f"{NAME}-edge-0", Mark(DEPLOYMENT, "edge[0]").text)
    assert body["metadata"] == machine_metadata(REQUEST)
    assert body["imageRef"] == "i"
    assert "availability_zone" not in body
    assert "PRIVATE" not in str({k: v for k, v in body.items() if k != "user_data"})
    asked = replace(REQUEST, disk_gb=60, settings={"zone": "z1"})
    body = launch_body(asked, image, flavor, "net", ["g1"], "key")["server"]
    (disk,) = body["block_device_mapping_v2"]
    assert (disk["uuid"], disk["volume_size"], disk["delete_on_termination"]) == ("i", 60, True)
    assert "imageRef" not in body
    assert body["availability_zone"] == "z1"


def server(status: str = "ACTIVE", **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"id": "s", "name": "n", "status": status, "metadata": machine_metadata(REQUEST)}
    return told | {"flavor": {"original_name": "m1"}, "OS-EXT-STS:task_state": None} | more


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ACTIVE", MachineState.RUNNING),
        ("BUILD", MachineState.RUNNING),
        ("VERIFY_RESIZE", MachineState.RUNNING),
        ("SHUTOFF", MachineState.STOPPED),
        ("SHELVED_OFFLOADED", MachineState.STOPPED),
        ("PAUSED", MachineState.PAUSED),
        ("SUSPENDED", MachineState.PAUSED),
        ("ERROR", MachineState.UNREACHABLE),
        ("UNKNOWN", MachineState.UNREACHABLE),
    ],
)
def test_states_of_nova_are_told_in_ours(status: str, state: MachineState) -> None:
    machine = machine_of(server(status, fault={"message": "host is down."}), Surroundings())
    assert machine.state is state
    assert ("host is down" in machine.reason) == (state is MachineState.UNREACHABLE)


def test_a_machine_is_told_with_its_addresses_and_rules() -> None:
    group = {
        "id": "g", "description": Mark(DEPLOYMENT, "edge").text, "security_group_rules": [
            {"id": "1", "direction": "egress", "ethertype": "IPv4"},
            {"id": "2", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 6443,
             "port_range_max": 6443, "remote_group_id": "g"},
            {"id": "3", "direction": "ingress", "ethertype": "IPv6", "protocol": None, "remote_ip_prefix": None},
        ],
    }  # fmt: skip
    port = {
        "id": "p", "network_id": "net", "security_groups": ["g", "default"],
        "fixed_ips": [{"ip_address": "fd00::7"}, {"ip_address": "10.64.0.7"}],
    }  # fmt: skip
    around = Surroundings({"g": group}, {"s": [port]}, {"p": {"floating_ip_address": "203.0.113.9"}})
    machine = machine_of(server(), around)
    assert (machine.host, machine.details) == ("203.0.113.9", {"private_address": "10.64.0.7"})
    rules = ["everything from ::/0", "group default", "tcp 6443 from members of edge"]
    assert machine.setup["security_rules"] == rules
    assert machine.setup["network"] == "net"
    open_to_all = rule_texts([{**port, "port_security_enabled": False, "security_groups": []}], around.groups)
    assert open_to_all == ["everything from 0.0.0.0/0", "everything from ::/0"]
    alone = server(addresses={"net": [{"addr": "10.64.0.8", "OS-EXT-IPS:type": "fixed"}]})
    assert machine_of(alone, Surroundings()).host == "10.64.0.8"


@pytest.mark.parametrize(
    "rule",
    [
        *(Rule(*ports, members_of("edge")) for ports in CLUSTER_PORTS),
        Rule("tcp", 22, 22, "203.0.113.7/32"),
        Rule("tcp", 443, 443, "::/0"),
        Rule("-1", -1, -1, "0.0.0.0/0"),
        Rule("icmp", -1, -1, "10.0.0.0/8"),
        Rule("tcp", -1, -1, "10.0.0.0/8"),
        Rule("udp", 53, 53, f"{members_of('other')} by IPv6"),
        Rule("tcp", 80, 80, "list 1234"),
    ],
)
def test_a_rule_is_the_same_after_neutron_had_it_and_after_it_was_a_text(rule: Rule) -> None:
    ids = {"edge": "g1", "other": "g2"}
    told = _asked(rule, "g1", ids)
    assert _rule(told, {v: k for k, v in ids.items()}) == rule
    divided, others = divide([str(rule)], "edge")
    assert divided["edge"] == {rule}
    assert others == []


@pytest.mark.parametrize(
    ("message", "summary"),
    [
        ("No valid host was found. There are not enough hosts available.", "no capacity"),
        ("Exceeded maximum number of retries. Exhausted all hosts", "no capacity"),
        ("Build of instance s aborted: Quota exceeded for resources: ['port'].", "quota"),
        ("Image i could not be found.", "could not make the machine"),
        ("", "could not make the machine"),
    ],
)
def test_a_machine_that_could_not_be_made_is_told_in_the_words_of_nova(message: str, summary: str) -> None:
    error = failed(server("ERROR", fault={"message": message}), "edge[0]")
    assert summary in error.summary
    assert not error.transient
    assert message.rstrip(".") in error.detail
    assert never_ran(server("ERROR"))
    assert not never_ran(server("ERROR", **{"OS-SRV-USG:launched_at": "2026-01-01T00:00:00"}))


def test_what_is_being_removed_is_gone() -> None:
    assert is_gone(None)
    assert is_gone(server(**{"OS-EXT-STS:task_state": "deleting"}))
    assert is_gone(server("SOFT_DELETED"))
    assert not is_gone(server(**{"OS-EXT-STS:task_state": "powering-off"}))
    assert "somebody removed it" in failed(None, "edge[0]").detail


@pytest.mark.parametrize(
    ("service", "told", "url"),
    [
        (NOVA, "https://c/compute/v2.1", "https://c/compute/v2.1"),
        (NOVA, "https://c/compute/v2/abc", "https://c/compute/v2.1/abc"),
        (NOVA, "https://c:8774", "https://c:8774/v2.1"),
        (NEUTRON, "https://c:9696/", "https://c:9696/v2.0"),
        (NEUTRON, "https://c/networking/v2.0", "https://c/networking/v2.0"),
    ],
)
def test_endpoints_are_taken_with_the_version_that_is_spoken(service: str, told: str, url: str) -> None:
    assert versioned(service, told) == url
