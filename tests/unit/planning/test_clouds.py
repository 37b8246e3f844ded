"""Machines of clouds under the production profile: who is public, through whom the others are reached, what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.planning.actions import Action
from orchestrator.planning.decide import SET_IN_PASSING
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.desired_instances import desired_instances
from orchestrator.planning.downtime import DowntimeKind
from orchestrator.planning.drift import drifted
from orchestrator.planning.observation import Difference
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import Wanted, plan_apply
from orchestrator.planning.profile import load_profile
from orchestrator.providers.base import LABELS, SECURITY_RULES
from orchestrator.state.model import InstanceRecord, Lifecycle, State
from orchestrator.topology.model import NodeTemplate, Topology, Value
from orchestrator.topology.types import shipped_types

SCALE = {"min_instances": 3, "max_instances": 3, "default_instances": 3}


def machines(image: str = "aws://eu-central-1/ami-1", **options: str) -> dict[str, DesiredInstance]:
    properties: dict[str, Value] = {"resource": "Cloud", "layer": 2, "image_id": image}
    node = NodeTemplate("cloud", "continuum.nodes.VirtualMachine", properties, capabilities={"scalable": SCALE})
    return desired_instances(
        Topology("t", nodes={"cloud": node}), shipped_types(), load_profile("production"), options
    )[0]


def applied(instances: dict[str, DesiredInstance]) -> State:
    records = {
        i.address: InstanceRecord(
            i.address,
            i.node,
            i.type,
            i.provider,
            lifecycle=Lifecycle.STARTED,
            inputs=i.inputs,
            dependencies=i.dependencies,
        )
        for i in instances.values()
    }
    return State("t", "l", 1, instances=records)


def plan(instances: dict[str, DesiredInstance], before: dict[str, DesiredInstance], *again: str) -> Plan:
    return plan_apply("t", Wanted("production", instances, ()), applied(before), {}, again)


def actions(found: Plan) -> dict[str, Action]:
    return {address: change.action for address, change in found.changes.items()}


def test_the_first_machine_is_made_first_and_leads_to_the_others() -> None:
    wanted = machines()
    assert [i.requirements for i in wanted.values()] == [{}, {"front": ("cloud[0]",)}, {"front": ("cloud[0]",)}]
    changes = plan_apply("t", Wanted("production", wanted, ()), None, {}).changes
    assert [changes[f"cloud[{n}]"].after for n in range(3)] == [(), ("cloud[0]",), ("cloud[0]",)]
    assert list(wanted["cloud[1]"].operations) == ["create", "start", "delete"]


@pytest.mark.parametrize("choice", ["all", "none"])
def test_no_machine_leads_to_another_where_all_or_none_are_public(choice: str) -> None:
    wanted = machines(public_addresses=choice)
    assert not any(i.requirements for i in wanted.values())
    assert {i.settings.get("public_address") for i in wanted.values()} == {False if choice == "none" else None}


def test_another_network_to_come_from_makes_no_other_machine() -> None:
    changed = plan(machines(ssh_from="203.0.113.9/32"), machines(ssh_from="203.0.113.7/32"))
    assert set(actions(changed).values()) == {Action.UPDATE}
    (reason, *_) = changed.changes["cloud[0]"].reasons
    assert "ssh_from" in reason


def on(machines: dict[str, DesiredInstance]) -> dict[str, DesiredInstance]:
    """The machines with a cluster on them."""
    cluster = replace(
        machines["cloud[0]"],
        address="k3s",
        node="k3s",
        type="continuum.nodes.K3sCluster",
        provider="",
        settings={},
        properties={},
        requirements={"machine": tuple(machines)},
    )
    return {**machines, "k3s": cluster}


def test_who_reaches_machines_stops_nothing_and_is_nothing_to_what_is_on_them() -> None:
    for name, value in (("ssh_from", "203.0.113.9/32"), ("tags", "team=sound")):
        wanted = machines(**{name: value})
        found = plan(on(wanted), on(machines()))
        assert actions(found) == {**dict.fromkeys(wanted, Action.UPDATE), "k3s": Action.NO_OP}
        assert {change.downtime.kind for change in found.changes.values()} == {DowntimeKind.NONE}
        assert found.changes["cloud[1]"].reasons == (f"'setting {name}' changed: nothing → {value}",)


@pytest.mark.parametrize(
    ("name", "stops"), [(SECURITY_RULES, False), (LABELS, False), ("flavor", True), ("state", True)]
)
def test_rules_and_tags_that_a_hand_changed_are_set_back_without_a_stop(name: str, stops: bool) -> None:
    wanted = on(machines())
    changed = drifted((Difference(name, ["tcp 22 from 203.0.113.7/32"], ["tcp 22 from 0.0.0.0/0"]),))
    found = plan_apply("t", Wanted("production", wanted, ()), applied(wanted), {"cloud[0]": changed})
    assert found.changes["cloud[0]"].action is Action.UPDATE
    assert found.changes["cloud[0]"].downtime.kind is (DowntimeKind.RESTART if stops else DowntimeKind.NONE)
    assert found.changes["k3s"].is_noop is not stops


def test_the_planner_and_the_providers_mean_the_same_names() -> None:
    assert {SECURITY_RULES, LABELS} == SET_IN_PASSING


def test_another_way_to_a_machine_is_told_in_words() -> None:
    changed = plan(machines(public_addresses="all"), machines()).changes["cloud[1]"]
    assert changed.reasons == ("is no longer reached through cloud[0]",)
    changed = plan(machines(), machines(public_addresses="all")).changes["cloud[1]"]
    assert changed.reasons == ("is reached through cloud[0]",)


def test_other_tags_make_no_other_machine_and_another_volume_does() -> None:
    assert set(actions(plan(machines(tags="team=sound"), machines(tags="team=vision"))).values()) == {Action.UPDATE}
    assert machines(tags="team=vision,cost=17")["cloud[1]"].settings["tags"] == "team=vision,cost=17"
    assert set(actions(plan(machines(data_volume="20"), machines())).values()) == {Action.REPLACE}
    given = machines(zone="aws/eu-central-1=eu-central-1b", key_name="mine")["cloud[0]"].settings
    assert (given["zone"], given["key_name"]) == ("eu-central-1b", "mine")


def test_a_port_that_opens_makes_no_other_machine() -> None:
    opened = {
        a: replace(i, properties={**i.properties, "public_ports": [443]}) for a, i in machines(ssh_from="").items()
    }
    assert set(actions(plan(opened, machines(ssh_from=""))).values()) == {Action.UPDATE}


def test_another_front_end_has_the_others_reached_anew_and_not_made_anew() -> None:
    found = plan(machines(), machines(), "cloud[0]")
    assert actions(found) == {"cloud[0]": Action.REPLACE, "cloud[1]": Action.UPDATE, "cloud[2]": Action.UPDATE}
    assert found.changes["cloud[1]"].after == ("cloud[0]",)
    assert found.changes["cloud[1]"].reasons == ("cloud[0] is made anew",)


def test_another_place_makes_other_machines_there() -> None:
    found = plan(machines("aws://eu-west-1/ami-2"), machines())
    assert set(actions(found).values()) == {Action.REPLACE}
    assert "of aws/eu-central-1" in found.changes["cloud[2]"].reasons[0]


def test_what_is_said_of_a_place_holds_at_that_place() -> None:
    given = "aws/eu-central-1=vpc-1, openstack/cloud.example=net-2"
    assert machines(network=given)["cloud[2]"].settings["network"] == "vpc-1"
    assert machines("ost://cloud.example/x", network=given)["cloud[0]"].settings["network"] == "net-2"
    assert machines("aws://eu-west-1/x", network=given)["cloud[0]"].settings["network"] == ""
    assert machines("aws://eu-west-1/x", network="vpc-3")["cloud[1]"].settings["network"] == "vpc-3"
    stays = plan(machines(network="aws/eu-central-1=vpc-1,openstack/o=net-9"), machines(network=given))
    assert set(actions(stays).values()) == {Action.NO_OP}
