"""Policies of the topology: placement, scaling, cost, quality of service, what the code asks for, security."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.production.model import Production
from orchestrator.production.naming import resource_node, sanitise
from orchestrator.topology.model import NodeTemplate, Policy, Value


def build_policies(model: Production, nodes: Mapping[str, NodeTemplate]) -> dict[str, Policy]:
    """Policies in the order placement, cost, quality of service, security."""
    found = [*_placement(model), *_cost(model, nodes), *_quality(model), *_security(model)]
    return {policy.name: policy for policy in found}


def _placement(model: Production) -> list[Policy]:
    policies: list[Policy] = []
    for component in model.components.values():
        name = sanitise(component.name)
        layer = model.layer(component.layer)
        resource = layer.resource(component.container.resource) if layer else None
        properties: dict[str, Value] = {"layer": component.layer, "resource": resource.name if resource else ""}
        policies.append(Policy(f"placement-{name}", "continuum.policies.Placement", (f"service-{name}",), properties))
    return policies


def _cost(model: Production, nodes: Mapping[str, NodeTemplate]) -> list[Policy]:
    policies: list[Policy] = []
    for layer in model.layers:
        for resource in layer.resources:
            machines = resource_node(layer.number, resource.name)
            if resource.cost is not None and machines in nodes:
                properties: dict[str, Value] = {"cost_per_hour": float(resource.cost)}
                policies.append(Policy(f"cost-{machines}", "continuum.policies.Cost", (machines,), properties))
    return policies


def _quality(model: Production) -> list[Policy]:
    policies: dict[str, Policy] = {}
    for constraint in model.constraints:
        if any(name not in model.components for name in constraint.components):
            continue
        services = tuple(f"service-{sanitise(name)}" for name in constraint.components)
        kind = "GlobalQos" if constraint.is_global else "LocalQos"
        properties: dict[str, Value] = {"threshold": float(constraint.threshold)}
        if constraint.is_global:
            properties = {"path": list(constraint.components), **properties}
        name = base = f"qos-{sanitise(constraint.key)}"
        number = 2
        while name in policies:
            name, number = f"{base}-{number}", number + 1
        policies[name] = Policy(name, f"continuum.policies.{kind}", services, properties)
    return list(policies.values())


def _security(model: Production) -> list[Policy]:
    policies: list[Policy] = []
    for component in model.components.values():
        container = component.container
        flags: dict[str, Value] = {
            "trusted_execution": container.trusted_execution,
            "network_protection": container.network_protection,
            "file_system_protection": container.file_system_protection,
        }
        if any(flags.values()):
            name = sanitise(component.name)
            policies.append(Policy(f"security-{name}", "continuum.policies.Security", (f"service-{name}",), flags))
    return policies
