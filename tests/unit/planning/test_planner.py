"""The planner as a pure function: what is wanted, recorded and seen → what is done, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import Wanted, instance_of_record, plan_apply, plan_destroy, plan_refresh
from orchestrator.planning.selection import NoSuchTargetError
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending, State
from orchestrator.topology.model import Value

MACHINE = Operation("create", "continuum.artifacts.Machine", "")
PLAY = Operation("configure", "continuum.artifacts.AnsiblePlaybook", "playbooks/site.yml")


def machine(index: int, **properties: object) -> DesiredInstance:
    return DesiredInstance(
        address=f"edge[{index}]",
        node="edge",
        type="continuum.nodes.Machine",
        index=index,
        provider="local",
        disposable=True,
        properties=properties,
        operations={"create": MACHINE},
    )


def wanted(*instances: DesiredInstance) -> Wanted:
    return Wanted("local", {i.address: i for i in instances})


CLUSTER = DesiredInstance(
    address="k3s",
    node="k3s",
    type="continuum.nodes.K3sCluster",
    properties={"version": "v1"},
    requirements={"machine": ("edge[0]", "edge[1]")},
    operations={"configure": PLAY},
)
SERVICE = DesiredInstance(
    address="service",
    node="service",
    type="continuum.nodes.OscarService",
    properties={"memory_mb": 1024},
    requirements={"host": ("k3s",)},
    operations={"configure": PLAY},
)
WANTED = wanted(machine(0), machine(1), CLUSTER, SERVICE)


def applied(want: Wanted) -> State:
    records = {
        a: InstanceRecord(a, i.node, i.type, i.provider, 1, Lifecycle.STARTED, i.inputs, {}, i.dependencies)
        for a, i in want.instances.items()
    }
    return State("demo", "lineage", 7, profile="local", instances=records)


def actions(plan: Plan) -> dict[str, Action]:
    return {a: c.action for a, c in plan.changes.items()}


def test_nothing_there_creates_everything_after_what_it_needs() -> None:
    plan = plan_apply("demo", WANTED, None, {})
    assert set(actions(plan).values()) == {Action.CREATE}
    assert list(plan.changes) == ["edge[0]", "edge[1]", "k3s", "service"]
    assert plan.changes["k3s"].after == ("edge[0]", "edge[1]")


def test_a_plan_after_an_apply_is_all_no_ops_and_keeps_them() -> None:
    plan = plan_apply("demo", WANTED, applied(WANTED), {})
    assert plan.is_empty
    assert plan.counts() == {Action.NO_OP: 4}


def test_a_lost_machine_is_made_anew_and_its_cluster_mended_but_nothing_else_touched() -> None:
    seen = {"edge[1]": Observation(Presence.MISSING, "the provider has no such machine")}
    plan = plan_apply("demo", WANTED, applied(WANTED), seen)
    assert actions(plan) == {
        "edge[0]": Action.NO_OP,
        "edge[1]": Action.CREATE,
        "k3s": Action.UPDATE,
        "service": Action.NO_OP,
    }
    assert plan.changes["edge[1]"].reasons == ("lost: the provider has no such machine",)
    assert plan.changes["k3s"].reasons == ("edge[1] is made anew",)


def test_a_lost_cluster_takes_what_runs_on_it_along() -> None:
    seen = {"k3s": Observation(Presence.MISSING, "its server is gone")}
    plan = plan_apply("demo", WANTED, applied(WANTED), seen)
    assert actions(plan)["k3s"] is Action.CREATE
    assert (actions(plan)["service"], plan.changes["service"].reasons) == (Action.CREATE, ("lost with k3s",))


def test_a_cluster_is_lost_with_all_its_machines_and_so_is_what_runs_on_it() -> None:
    seen = {f"edge[{i}]": Observation(Presence.MISSING) for i in (0, 1)}
    plan = plan_apply("demo", WANTED, applied(WANTED), seen)
    assert set(actions(plan).values()) == {Action.CREATE}
    assert plan.changes["k3s"].reasons == ("lost with edge[0], edge[1]",)
    assert plan.changes["service"].downtime.kind == "until-remade"


def test_a_stopped_machine_is_mended_and_its_cluster_looked_after() -> None:
    seen = {"edge[0]": Observation(Presence.DEGRADED, "the machine is stopped")}
    plan = plan_apply("demo", WANTED, applied(WANTED), seen)
    assert actions(plan)["edge[0]"] is Action.UPDATE
    assert plan.changes["k3s"].reasons == ("edge[0] is mended",)


def test_what_cannot_be_asked_is_taken_to_be_as_recorded() -> None:
    seen = {"k3s": Observation(Presence.UNKNOWN, "no answer")}
    plan = plan_apply("demo", WANTED, applied(WANTED), seen)
    assert plan.is_empty
    assert plan.unasked == ("k3s",)
    assert plan.changes["k3s"].reasons == ("could not be asked: no answer",)
    assert plan.changes["edge[0]"].reasons == ("as wanted",)


def test_a_changed_property_updates_and_the_reason_names_it() -> None:
    bigger = replace(SERVICE, properties={"memory_mb": 2048})
    plan = plan_apply("demo", wanted(machine(0), machine(1), CLUSTER, bigger), applied(WANTED), {})
    assert actions(plan)["service"] is Action.UPDATE
    assert plan.changes["service"].reasons == ("'memory_mb' changed: 1024 → 2048",)
    assert actions(plan)["k3s"] is Action.NO_OP


def test_a_machine_of_another_size_is_replaced() -> None:
    plan = plan_apply("demo", wanted(machine(0, size=2), machine(1), CLUSTER, SERVICE), applied(WANTED), {})
    assert actions(plan)["edge[0]"] is Action.REPLACE
    assert actions(plan)["k3s"] is Action.UPDATE


def test_an_unfinished_create_goes_on() -> None:
    state = applied(WANTED)
    record = replace(state.instances["edge[0]"], lifecycle=Lifecycle.CREATING, pending=Pending("create", "t", "run"))
    plan = plan_apply("demo", WANTED, state.with_instance(record), {})
    assert actions(plan)["edge[0]"] is Action.UPDATE
    assert "creating" in plan.changes["edge[0]"].reasons[0]


def test_what_is_no_longer_wanted_goes_after_the_new_is_there_and_in_reverse_order() -> None:
    other = replace(SERVICE, address="other", node="other")
    plan = plan_apply("demo", wanted(machine(0), machine(1), CLUSTER, other), applied(WANTED), {})
    assert actions(plan)["service"] is Action.DELETE
    assert "other" in plan.changes["service"].after


def test_destroy_lets_go_what_goes_with_its_machines_and_deletes_the_rest_in_reverse() -> None:
    plan = plan_destroy(applied(WANTED))
    assert actions(plan) == {
        "service": Action.FORGET,
        "k3s": Action.FORGET,
        "edge[0]": Action.DELETE,
        "edge[1]": Action.DELETE,
    }
    assert plan.changes["edge[0]"].after == ("k3s",)


def test_destroy_uninstalls_from_machines_that_stay() -> None:
    kept = replace(machine(0), disposable=False)
    want = wanted(kept, replace(CLUSTER, requirements={"machine": ("edge[0]",)}))
    assert actions(plan_destroy(applied(want)))["k3s"] is Action.DELETE


def test_replace_asked_for() -> None:
    plan = plan_apply("demo", WANTED, applied(WANTED), {}, replace=["edge[0]"])
    assert actions(plan)["edge[0]"] is Action.REPLACE


def test_a_record_gives_back_the_instance_it_was_made_from() -> None:
    for instance in WANTED.instances.values():
        record = applied(WANTED).instances[instance.address]
        assert replace(instance_of_record(record), capabilities=instance.capabilities) == instance


@given(st.sets(st.sampled_from(["edge[0]", "edge[1]", "k3s", "service"])), st.sampled_from(list(Presence)))
def test_the_order_always_respects_what_must_be_there_first(lost: set[str], presence: Presence) -> None:
    seen = {address: Observation(presence) for address in lost}
    plan = plan_apply("demo", WANTED, applied(WANTED), seen)
    position = {address: i for i, address in enumerate(plan.changes)}
    assert all(position[a] < position[c.address] for c in plan.changes.values() for a in c.after)
    assert all(c.reasons for c in plan.changes.values())


def test_a_new_dependency_is_called_new_and_a_renewed_one_made_anew() -> None:
    bigger = replace(CLUSTER, requirements={"machine": ("edge[0]", "edge[1]", "edge[2]")})
    seen = {"edge[0]": Observation(Presence.MISSING)}
    plan = plan_apply("demo", wanted(machine(0), machine(1), machine(2), bigger), applied(WANTED), seen)
    assert plan.changes["k3s"].reasons[:2] == ("edge[0] is made anew", "edge[2] is new")


OTHER = replace(CLUSTER, address="other", node="other")
MACHINES = (machine(0), machine(1))


def service(name: str, host: str = "k3s", *after: str, **properties: Value) -> DesiredInstance:
    connected = {"connects_to": after} if after else {}
    return replace(SERVICE, address=name, node=name, properties=properties, requirements={"host": (host,), **connected})


def test_what_is_hosted_elsewhere_moves_and_the_former_one_goes_when_all_is_rewired() -> None:
    before = wanted(*MACHINES, CLUSTER, OTHER, service("b", layer=1), service("a", "k3s", "b"), service("x"))
    moved = service("b", "other", component="mask", layer=2)
    plan = plan_apply(
        "d", wanted(*MACHINES, CLUSTER, OTHER, moved, service("a", "k3s", "b"), service("x")), applied(before), {}
    )
    move, rewired, removal = plan.changes["b"], plan.changes["a"], plan.changes["b@1"]
    assert (move.action, move.title, move.former) == (Action.MOVE, "mask: layer 1 → layer 2", "b@1")
    assert move.reasons[0] == move.title
    assert (rewired.action, rewired.reasons) == (Action.UPDATE, ("results go to other: b moves",))
    assert rewired.downtime.kind == move.downtime.kind == "none"
    assert (removal.action, set(removal.after)) == (Action.DELETE, {"b", "a"})
    assert removal.instance.requirements["host"] == ("k3s",), "it is removed from where it is"
    assert plan.counts()[Action.MOVE] == 1
    assert Action.DELETE not in plan.counts()


def test_a_move_within_a_layer_is_named_by_its_hosts() -> None:
    before = wanted(*MACHINES, CLUSTER, OTHER, service("b", layer=1))
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, OTHER, service("b", "other", layer=1)), applied(before), {})
    assert plan.changes["b"].title == "b: k3s → other"


def test_what_others_are_hosted_on_is_replaced_since_they_would_have_to_move_along() -> None:
    platform = service("platform")
    before = wanted(*MACHINES, CLUSTER, OTHER, platform, service("s", "platform"))
    after = wanted(*MACHINES, CLUSTER, OTHER, service("platform", "other"), service("s", "platform"))
    plan = plan_apply("d", after, applied(before), {})
    assert actions(plan)["platform"] is Action.REPLACE
    assert (actions(plan)["s"], plan.changes["s"].reasons) == (Action.CREATE, ("lost with platform",))


def test_a_former_instance_that_is_left_over_is_removed() -> None:
    state = applied(wanted(*MACHINES, CLUSTER, OTHER, service("b", "other")))
    old = replace(state.instances["b"], address="b@1", inputs=service("b", "k3s").inputs)
    state = state.with_instance(replace(state.instances["b"], generation=2)).with_instance(old)
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, OTHER, service("b", "other")), state, {})
    assert {a: c.action for a, c in plan.changes.items() if not c.is_noop} == {"b@1": Action.DELETE}
    assert plan.counts()[Action.DELETE] == 1


@pytest.mark.parametrize(
    ("service_seen", "cluster_seen", "action"),
    [
        (None, None, Action.DELETE),
        (Presence.PRESENT, Presence.PRESENT, Action.DELETE),
        (Presence.DEGRADED, Presence.PRESENT, Action.DELETE),
        (Presence.UNKNOWN, Presence.PRESENT, Action.DELETE),
        (Presence.DEGRADED, Presence.DEGRADED, Action.FORGET),
        (Presence.UNKNOWN, None, Action.FORGET),
        (Presence.MISSING, Presence.PRESENT, None),
    ],
)
def test_a_service_stops_before_its_machines_go_unless_nothing_answers_there(
    service_seen: Presence | None, cluster_seen: Presence | None, action: Action | None
) -> None:
    stopping = {"configure": PLAY, "stop": PLAY}
    first = replace(SERVICE, operations=stopping)
    away = machine(2, memory_mb=512)
    other = replace(CLUSTER, address="k3s2", node="k3s2", requirements={"machine": ("edge[2]",)})
    before = applied(wanted(machine(0), machine(1), CLUSTER, first, away, other))
    moved = replace(first, requirements={"host": ("k3s2",)})
    found = {"service": service_seen, "k3s": cluster_seen}
    seen = {address: Observation(presence) for address, presence in found.items() if presence is not None}
    plan = plan_apply("demo", wanted(away, other, moved), before, seen)
    former = [change.action for address, change in plan.changes.items() if address.startswith("service@")]
    assert former == ([action] if action else [])


def test_a_former_instance_on_the_host_where_it_is_wanted_again_is_not_taken_away() -> None:
    state = applied(wanted(*MACHINES, CLUSTER, OTHER, service("b", "other")))
    old = replace(state.instances["b"], address="b@1", inputs=service("b", "k3s").inputs)
    state = state.with_instance(replace(state.instances["b"], generation=2)).with_instance(old)
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, OTHER, service("b", "k3s")), state, {})
    assert (plan.changes["b"].action, plan.changes["b"].former) == (Action.MOVE, "b@2")
    assert actions(plan)["b@2"] is Action.DELETE
    assert (actions(plan)["b@1"], plan.changes["b@1"].after) == (Action.FORGET, ("b",))


def test_a_renamed_service_of_the_same_name_on_its_host_is_the_same_object() -> None:
    state = applied(wanted(*MACHINES, CLUSTER, service("old", service="faces")))
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, service("new", service="faces")), state, {})
    assert (actions(plan)["old"], plan.changes["old"].after) == (Action.FORGET, ("new",))


def test_a_removal_waits_for_what_is_around_it_and_for_nothing_else() -> None:
    pipeline = [service("a", "k3s", "b"), service("b", "k3s", "c"), service("c")]
    beside = [service("far"), service("near")]
    state = applied(wanted(*MACHINES, CLUSTER, *pipeline, *beside))
    renamed = [service("a", "k3s", "b2"), service("b2", "k3s", "c"), service("c")]
    busy = [service("far", memory=2), service("near")]
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, *renamed, *busy), state, {})
    assert actions(plan)["far"] is Action.UPDATE
    assert plan.changes["b"].after == ("a",), "the last one of those that change around it"


def test_what_nothing_that_stays_touches_waits_for_what_is_new_also_after_a_cut() -> None:
    state = applied(
        wanted(*MACHINES, CLUSTER, service("a", "k3s", "b"), service("b"), service("x", "k3s", "y"), service("y"))
    )
    after = wanted(
        *MACHINES, CLUSTER, service("p", "k3s", "q"), service("q"), service("x", "k3s", "y", memory=2), service("y")
    )
    plan = plan_apply("d", after, state, {})
    assert (plan.changes["a"].after, plan.changes["b"].after) == (("p",), ("a",))
    begun = replace(
        applied(after).instances["q"], lifecycle=Lifecycle.CONFIGURING, pending=Pending("create", "t", "run")
    )
    again = plan_apply("d", after, state.with_instance(begun), {})
    assert again.changes["a"].after == ("p",)


def test_an_image_made_from_something_else_is_given_to_its_service_in_place() -> None:
    image = DesiredInstance("image", "image", "Image", properties={"tag": 1}, operations={"create": PLAY})
    runs = replace(SERVICE, requirements={"host": ("k3s",), "image": ("image",)})
    state = applied(wanted(*MACHINES, CLUSTER, image, runs))
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, replace(image, properties={"tag": 2}), runs), state, {})
    assert (actions(plan)["image"], actions(plan)["service"]) == (Action.UPDATE, Action.UPDATE)
    assert plan.changes["image"].downtime.kind == "none"
    assert plan.changes["service"].reasons == ("image is made from something else",)
    assert plan.changes["service"].downtime.text == "restart of service"


def test_downtime_tells_what_is_gone_and_what_only_gains() -> None:
    seen = {"edge[0]": Observation(Presence.MISSING)}
    bigger = replace(CLUSTER, requirements={"machine": ("edge[0]", "edge[1]", "edge[2]")})
    plan = plan_apply("d", wanted(machine(0), machine(1), machine(2), bigger, SERVICE), applied(WANTED), {})
    assert {c.downtime.kind.value for c in plan.changes.values()} == {"none"}, "a cluster that gains a machine goes on"
    lost = plan_apply("d", WANTED, applied(WANTED), seen)
    assert lost.changes["edge[0]"].downtime.text == "edge[0], and what runs on it, until it is made anew"
    assert lost.changes["k3s"].downtime.kind == "restart"


def test_differences_name_the_part_that_differs() -> None:
    before = replace(SERVICE, properties={"environment": {"A": "1", "B": "2"}})
    after = replace(SERVICE, properties={"environment": {"A": "3", "C": "4"}})
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, after), applied(wanted(*MACHINES, CLUSTER, before)), {})
    assert plan.changes["service"].reasons == (
        "'environment.A' changed: 1 → 3",
        "'environment.C' added",
        "'environment.B' removed",
    )


def test_targets_take_along_what_they_need_and_nothing_else() -> None:
    want = wanted(*MACHINES, CLUSTER, OTHER, service("a", "k3s", "b", component="first"), service("b", "other"))
    assert set(plan_apply("d", want, None, {}, targets=["b"]).changes) == {"edge[0]", "edge[1]", "other", "b"}
    assert set(plan_apply("d", want, None, {}, targets=["edge"]).changes) == {"edge[0]", "edge[1]"}
    by_component = plan_apply("d", want, None, {}, targets=["first"])
    assert (set(by_component.changes), by_component.targets) == (set(want.instances), ("first",))


def test_a_narrowed_plan_keeps_what_others_are_still_wired_to() -> None:
    before = wanted(*MACHINES, CLUSTER, OTHER, service("b"), service("a", "k3s", "b"))
    after = wanted(*MACHINES, CLUSTER, OTHER, service("b", "other"), service("a", "k3s", "b"))
    plan = plan_apply("d", after, applied(before), {}, targets=["b"])
    assert "a" not in plan.changes
    assert "b@1" not in plan.changes
    whole = plan_apply("d", after, applied(before), {}, targets=["a"])
    assert {"a", "b", "b@1"} <= whole.changes.keys()


def test_a_removal_that_is_meant_comes_with_what_replaces_it() -> None:
    state = applied(wanted(*MACHINES, CLUSTER, service("a", "k3s", "b"), service("b")))
    plan = plan_apply("d", wanted(*MACHINES, CLUSTER, service("a", "k3s", "c"), service("c")), state, {}, targets=["b"])
    assert {a for a, c in plan.changes.items() if not c.is_noop} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("option", "names"), [("--target", {"targets": ["servise"]}), ("--replace", {"replace": ["servise"]})]
)
def test_a_name_that_means_nothing_is_refused_with_one_that_resembles_it(
    option: str, names: dict[str, list[str]]
) -> None:
    with pytest.raises(NoSuchTargetError, match=f"{option} names 'servise'.*Did you mean 'service'") as caught:
        plan_apply("d", WANTED, None, {}, **names)
    assert caught.value.exit_code == 2


def test_replace_takes_node_templates_and_components_too() -> None:
    plan = plan_apply("d", WANTED, applied(WANTED), {}, replace=["edge"])
    assert [a for a, c in plan.changes.items() if c.action is Action.REPLACE] == ["edge[0]", "edge[1]"]


def test_a_removal_that_was_cut_off_is_finished_before_the_new_one_is_made() -> None:
    state = applied(WANTED)
    record = replace(state.instances["service"], lifecycle=Lifecycle.DELETING, pending=Pending("delete", "t", "run"))
    plan = plan_apply("d", WANTED, state.with_instance(record), {})
    assert actions(plan)["service"] is Action.REPLACE


def test_a_refresh_takes_over_attributes_properties_and_losses_only() -> None:
    seen = {
        "edge[0]": Observation(Presence.PRESENT, attributes={"host": "192.0.2.7"}),
        "edge[1]": Observation(Presence.UNKNOWN, "no answer"),
        "k3s": Observation(Presence.MISSING, "its server is gone"),
        "service": Observation(
            Presence.DEGRADED,
            "odd",
            differences=(Difference("memory_mb", 1024, 2048), Difference("state", "on", "off")),
        ),
    }
    plan = plan_refresh(applied(WANTED), seen)
    assert {a: (c.action, c.reasons) for a, c in plan.changes.items()} == {
        "edge[0]": (Action.REFRESH, ("'host': nothing → 192.0.2.7",)),
        "edge[1]": (Action.NO_OP, ("could not be asked: no answer",)),
        "k3s": (Action.REFRESH, ("lost: its server is gone",)),
        "service": (Action.REFRESH, ("'memory_mb': 1024 → 2048",)),
    }
    assert plan.refresh_only
    assert plan.is_partial
    assert {c.downtime.kind.value for c in plan.changes.values()} == {"none"}


def test_planning_takes_time_in_proportion_to_the_number_of_components() -> None:
    """Counted in entries, not in seconds: what a plan holds grows with what it is about."""
    entries = []
    for number in (50, 500):
        old = [service(f"s{i}", "k3s", *([f"s{i + 1}"] if i < number - 1 else [])) for i in range(number)]
        new = [service(f"t{i}", "k3s", *([f"t{i + 1}"] if i < number - 1 else [])) for i in range(number)]
        plan = plan_apply("d", wanted(*MACHINES, CLUSTER, *new), applied(wanted(*MACHINES, CLUSTER, *old)), {})
        entries.append(sum(len(c.after) for c in plan.changes.values()))
    assert entries[1] <= 11 * entries[0]


def test_an_address_more_in_the_list_of_machines_makes_no_other_machine_another_one() -> None:
    hosts: list[Value] = [{"host": f"192.0.2.{i}"} for i in range(3)]
    state = applied(wanted(machine(0, hosts=hosts[:2]), machine(1, hosts=hosts[:2]), CLUSTER))
    more = wanted(machine(0, hosts=hosts), machine(1, hosts=hosts), CLUSTER)
    assert plan_apply("d", more, state, {}).is_empty
    other = [hosts[2], hosts[1]]
    plan = plan_apply("d", wanted(machine(0, hosts=other), machine(1, hosts=other), CLUSTER), state, {})
    assert (actions(plan)["edge[0]"], actions(plan)["edge[1]"]) == (Action.REPLACE, Action.NO_OP)


def test_another_way_to_log_in_to_a_machine_makes_it_no_other_machine() -> None:
    entry: dict[str, Value] = {"host": "192.0.2.1", "user": "pi", "key_file": "a"}
    state = applied(wanted(machine(0, hosts=[entry]), CLUSTER))
    for key, value, action in (
        ("key_file", "b", Action.UPDATE),
        ("become_password", "env:SUDO", Action.UPDATE),
        ("user", "root", Action.REPLACE),
        ("jump", "gate", Action.REPLACE),
        ("host", "192.0.2.2", Action.REPLACE),
    ):
        plan = plan_apply("d", wanted(machine(0, hosts=[{**entry, key: value}]), CLUSTER), state, {})
        assert actions(plan)["edge[0]"] is action, key
