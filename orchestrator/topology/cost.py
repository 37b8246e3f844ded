"""What a topology's machines cost, by its Cost policies; the same for a template as for the file it came from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum

from orchestrator.topology.model import Group, NodeTemplate, Topology
from orchestrator.topology.types import CLOUD_FUNCTION_PLATFORM, MACHINE, TypeCatalogue

HOURS_A_MONTH = 730
"""Hours of an average month, as clouds reckon: 365 days of 24 hours, by 12."""

COST_POLICY = "continuum.policies.Cost"
LAYER_GROUP = "continuum.groups.ComputationalLayer"


@dataclass(frozen=True, slots=True)
class ResourceCost:
    """Cost of equal machines, in the units of the input; ``each`` is one machine's for one hour."""

    node: str
    resource: str
    machines: int
    each: float

    @property
    def hourly(self) -> float:
        """All of them, for an hour."""
        return self.machines * self.each


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Cost of a computational layer; ``number`` is ``None`` for machines outside of any layer."""

    number: int | None
    name: str
    resources: tuple[ResourceCost, ...]

    @property
    def hourly(self) -> float:
        """All its machines, for an hour."""
        return fsum(resource.hourly for resource in self.resources)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a deployment.

    Attributes:
        layers: Those with machines that have a cost, in the order of the template.
        without_cost: Resources whose machines have no cost in the input; not counted.
        by_use: Resources that cost what their use costs; not counted.
    """

    layers: tuple[LayerCost, ...] = ()
    without_cost: tuple[str, ...] = ()
    by_use: tuple[str, ...] = ()

    @property
    def hourly(self) -> float:
        """Everything that is counted, for an hour."""
        return fsum(layer.hourly for layer in self.layers)

    @property
    def of_node(self) -> Mapping[str, float]:
        """Node name to the cost of one machine for one hour."""
        return {r.node: r.each for layer in self.layers for r in layer.resources}


def monthly(hourly: float) -> float:
    """The cost of a month from that of an hour."""
    return hourly * HOURS_A_MONTH


def cost_of(topology: Topology, catalogue: TypeCatalogue) -> Cost:
    """What the machines of a topology cost."""
    prices = _prices(topology)
    layers = [group for group in topology.groups.values() if group.type == LAYER_GROUP]
    inside = {member for layer in layers for member in layer.members}
    rest = Group("", "", tuple(name for name in topology.nodes if name not in inside))
    machines = {n.name: n for n in topology.nodes.values() if catalogue.is_derived(n.type, MACHINE)}
    found = (_layer(layer, [machines[m] for m in layer.members if m in machines], prices) for layer in (*layers, rest))
    functions = [n for n in topology.nodes.values() if catalogue.is_derived(n.type, CLOUD_FUNCTION_PLATFORM)]
    return Cost(
        layers=tuple(layer for layer in found if layer.resources),
        without_cost=_names(node for node in machines.values() if node.name not in prices),
        by_use=_names(functions),
    )


def _prices(topology: Topology) -> dict[str, float]:
    prices: dict[str, float] = {}
    for policy in topology.policies.values():
        price = policy.properties.get("cost_per_hour")
        if policy.type == COST_POLICY and isinstance(price, (int, float)):
            prices.update(dict.fromkeys(policy.targets, float(price)))
    return prices


def _layer(layer: Group, machines: Iterable[NodeTemplate], prices: Mapping[str, float]) -> LayerCost:
    number = layer.properties.get("number")
    resources = tuple(
        ResourceCost(node.name, _name(node), node.instance_count, prices[node.name])
        for node in machines
        if node.name in prices
    )
    return LayerCost(
        number if isinstance(number, int) else None, str(layer.properties.get("name") or layer.name), resources
    )


def _name(node: NodeTemplate) -> str:
    return str(node.properties.get("resource") or node.name)


def _names(nodes: Iterable[NodeTemplate]) -> tuple[str, ...]:
    return tuple(_name(node) for node in nodes)
