"""What a person and a program are told about cost."""

from __future__ import annotations

import pytest

from orchestrator.cli.views.cost import change_of, cost_to_json, render_cost
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Change, Plan
from orchestrator.topology.cost import Cost, LayerCost, ResourceCost
from orchestrator.topology.types import shipped_types

VM = "continuum.nodes.VirtualMachine"
COST = Cost(
    (
        LayerCost(1, "Edge", (ResourceCost("edge", "Pi", 3, 0.6),)),
        LayerCost(2, "Cloud", (ResourceCost("vm", "VM", 2, 0.675), ResourceCost("gpu", "GPU", 1, 0.00001))),
    ),
    without_cost=("Spare",),
    by_use=("Lambda",),
)


def plan(**actions: Action) -> Plan:
    changes = {
        f"{node}[0]": Change(f"{node}[0]", VM, action, (), DesiredInstance(f"{node}[0]", node, VM))
        for node, action in actions.items()
    }
    return Plan("d", "l", 1, "production", changes)


def test_table_has_resources_layers_that_have_several_and_the_total() -> None:
    lines = render_cost(COST, 0.6).splitlines()
    assert "730 hours" in lines[0]
    assert [line.split() for line in lines[3:9]] == [
        ["Edge", "Pi", "3", "x", "0.6", "1.8", "1314"],
        ["Cloud", "VM", "2", "x", "0.675", "1.35", "985.5"],
        ["Cloud", "GPU", "1", "x", "0.00001", "0.00001", "0.0073"],
        ["Cloud", "all", "1.35001", "985.5073"],
        ["total", "3.15001", "2299.5073"],
        ["The", "changes", "make", "it", "0.6", "an", "hour", "more."],
    ]
    assert lines[-2:] == [
        "Not counted, since the file gives no cost: Spare.",
        "Not counted, since it costs what its use costs: Lambda.",
    ]


def test_nothing_with_a_cost_makes_no_table() -> None:
    shown = render_cost(Cost(without_cost=("VM",)))
    assert shown == "Not counted, since the file gives no cost: VM."


def test_json_has_the_same_numbers() -> None:
    shown = cost_to_json(COST, None)
    assert (shown["hourly"], shown["monthly"], shown["hours_a_month"]) == (3.15001, 2299.5073, 730)
    assert shown["change_hourly"] is None
    assert shown["layers"][0] == {
        "layer": 1,
        "name": "Edge",
        "hourly": 1.8,
        "monthly": 1314.0,
        "resources": [
            {"node": "edge", "resource": "Pi", "machines": 3, "each_hourly": 0.6, "hourly": 1.8, "monthly": 1314.0}
        ],
    }
    assert (shown["without_cost"], shown["by_use"]) == (["Spare"], ["Lambda"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"edge": Action.CREATE, "vm": Action.NO_OP}, 0.6),
        ({"edge": Action.DELETE, "vm": Action.CREATE}, 0.075),
        ({"edge": Action.UPDATE, "vm": Action.REPLACE}, 0.0),
        ({"old": Action.DELETE}, None),
        ({"old": Action.NO_OP}, 0.0),
    ],
)
def test_what_a_plan_adds(changes: dict[str, Action], expected: float | None) -> None:
    found = change_of(plan(**changes), COST, shipped_types())
    assert found == (None if expected is None else pytest.approx(expected))
