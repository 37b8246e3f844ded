"""A rotated secret makes dirty whoever holds it, with a reason that names it, and nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.planner import Wanted, instance_of_record, plan_apply
from orchestrator.planning.secret_versions import with_secret_versions
from orchestrator.state.model import InstanceRecord, Lifecycle, State


def instance(name: str, password: str = "", **requirements: str) -> DesiredInstance:
    inputs = {"password": password} if password else {}
    return DesiredInstance(
        name,
        name,
        "T",
        properties=inputs,
        requirements={key: (target,) for key, target in requirements.items()},
        operations={"configure": Operation("configure", "A", "f", {"deep": [inputs]} if inputs else {})},
    )


WANTED = {
    i.address: i
    for i in (
        instance("one-oscar", "secret:one-password"),
        instance("two-oscar", "secret:two-password"),
        instance("three-oscar", "secret:three-password"),
        instance("last", host="three-oscar"),
        instance("middle", host="two-oscar", connects_to="last"),
        instance("first", host="one-oscar", connects_to="middle"),
    )
}


def state(instances: dict[str, DesiredInstance]) -> State:
    records = {
        a: InstanceRecord(a, a, "T", inputs=i.inputs, dependencies=i.dependencies, lifecycle=Lifecycle.STARTED)
        for a, i in instances.items()
    }
    return State("demo", "lineage", 1, instances=records)


def reasons(before: dict[str, int], after: dict[str, int]) -> dict[str, tuple[str, ...]]:
    prior = state(with_secret_versions(WANTED, before))
    plan = plan_apply("demo", Wanted("p", with_secret_versions(WANTED, after)), prior, {})
    assert {c.action for c in plan.changes.values()} <= {Action.NO_OP, Action.UPDATE}
    return {a: c.reasons for a, c in plan.changes.items() if not c.is_noop}


def test_what_was_never_rotated_is_not_mentioned() -> None:
    assert with_secret_versions(WANTED, {}) == WANTED
    assert not any(key.startswith("secrets.") for i in WANTED.values() for key in i.inputs)
    assert reasons({}, {}) == {}
    assert reasons({"two-password": 3}, {"two-password": 3}) == {}


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("two-password", {"two-oscar", "middle", "first"}),
        ("three-password", {"three-oscar", "last", "middle"}),
        ("one-password", {"one-oscar", "first"}),
        ("nobodys", set()),
    ],
)
def test_whoever_holds_it_is_updated(name: str, dirty: set[str]) -> None:
    found = reasons({}, {name: 2})
    assert set(found) == dirty
    assert set(found.values()) <= {(f"secret {name!r} was rotated",)}


def test_no_value_and_no_version_of_others_is_in_the_inputs() -> None:
    found = with_secret_versions(WANTED, {"two-password": 2, "three-password": 5})
    assert {k: v for k, v in found["middle"].inputs.items() if k.startswith("secrets.")} == {
        "secrets.two-password": 2,
        "secrets.three-password": 5,
    }
    assert found["one-oscar"] is WANTED["one-oscar"]


def test_a_record_tells_which_version_it_was_made_with() -> None:
    made = with_secret_versions(WANTED, {"two-password": 2})["two-oscar"]
    record = InstanceRecord("two-oscar", "two-oscar", "T", inputs=made.inputs)
    assert instance_of_record(record).secret_versions == {"two-password": 2}
    assert replace(instance_of_record(record), capabilities={}).inputs == record.inputs
