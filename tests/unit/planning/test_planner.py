"""The planner as a pure function: what is wanted, recorded and seen → what is done, and why."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import Wanted, instance_of_record, plan_apply, plan_destroy
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending, State

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
    assert plan_apply("demo", WANTED, applied(WANTED), seen).is_empty


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
