"""What machines cost is read from the topology, whatever file it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.topology.cost import cost_of, monthly
from orchestrator.topology.model import Group, NodeTemplate, Policy, Topology
from orchestrator.topology.parse import parse_template
from orchestrator.topology.types import shipped_types

GOLDEN = Path(__file__).parents[2] / "golden"


def machines(name: str, count: int) -> NodeTemplate:
    scalable = {"min_instances": count, "max_instances": count, "default_instances": count}
    properties = {"resource": name.upper(), "layer": 1}
    return NodeTemplate(name, "continuum.nodes.VirtualMachine", properties, {"scalable": scalable})


def price(cost: float, *nodes: str) -> Policy:
    return Policy(f"cost-{nodes[0]}", "continuum.policies.Cost", nodes, {"cost_per_hour": cost})


def layer(number: int, *members: str) -> Group:
    properties = {"name": f"Layer {number}", "number": number, "layer_type": "Virtual", "network_domain": "d"}
    return Group(f"layer-{number}", "continuum.groups.ComputationalLayer", members, properties)


def test_machines_times_cost_by_layer_and_in_total() -> None:
    nodes = {n.name: n for n in (machines("a", 3), machines("b", 1), machines("c", 2))}
    groups = {"layer-1": layer(1, "a", "b"), "layer-2": layer(2, "c")}
    policies = {p.name: p for p in (price(0.6, "a"), price(2.0, "b"), price(0.675, "c"))}
    cost = cost_of(Topology("t", nodes=nodes, groups=groups, policies=policies), shipped_types())
    assert [(part.number, pytest.approx(part.hourly)) for part in cost.layers] == [(1, 3.8), (2, 1.35)]
    assert [(r.resource, r.machines, r.each) for r in cost.layers[0].resources] == [("A", 3, 0.6), ("B", 1, 2.0)]
    assert cost.hourly == pytest.approx(5.15)
    assert monthly(cost.hourly) == pytest.approx(5.15 * 730)
    assert cost.of_node == {"a": 0.6, "b": 2.0, "c": 0.675}


def test_what_is_not_counted_is_named() -> None:
    functions = NodeTemplate("f", "continuum.nodes.CloudFunctionPlatform", {"resource": "Lambda", "layer": 3})
    nodes = {"a": machines("a", 3), "f": functions}
    cost = cost_of(Topology("t", nodes=nodes, groups={"layer-1": layer(1, "a")}), shipped_types())
    assert (cost.layers, cost.hourly) == ((), 0)
    assert (cost.without_cost, cost.by_use) == (("A",), ("Lambda",))


def test_machines_outside_of_layers_count_too() -> None:
    cost = cost_of(Topology("t", nodes={"a": machines("a", 2)}, policies={"p": price(1.5, "a")}), shipped_types())
    assert [(part.number, part.hourly) for part in cost.layers] == [(None, 3.0)]


def test_a_compiled_template_costs_what_its_production_file_does() -> None:
    text = (GOLDEN / "mask-detection" / "topology.yaml").read_text(encoding="utf-8")
    topology = parse_template(text, "topology.yaml").topology
    assert topology is not None
    cost = cost_of(topology, shipped_types())
    assert [(part.name, pytest.approx(part.hourly)) for part in cost.layers] == [
        ("Edge Layer", 1.8),
        ("Cloud Layer", 1.35),
    ]
