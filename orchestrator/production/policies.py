"""Groups and policies of the topology: layers, network domains, placement, cost, quality of service, security."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.production.model import NetworkDomain, Production
from orchestrator.production.naming import resource_node, sanitise
from orchestrator.topology.model import Group, NodeTemplate, Policy, Value


def build_groups(model: Production, nodes: Mapping[str, NodeTemplate]) -> dict[str, Group]:
    """A group for each network domain and each layer that has nodes."""
    groups: dict[str, Group] = {}
    for domain in model.domains:
        machines = tuple(
            name
            for layer in sorted(domain.layers, key=lambda found: found.number)
            for resource in layer.resources
            if (name := resource_node(layer.number, resource.name)) in nodes
        )
        if machines:
            name = f"domain-{sanitise(domain.key)}"
            groups[name] = Group(name, "continuum.groups.NetworkDomain", machines, _domain_properties(domain))
    for layer in model.layers:
        members: list[str] = []
        for resource in layer.resources:
            base = resource_node(layer.number, resource.name)
            members += [name for name in (base, f"{base}-k3s", f"{base}-oscar") if name in nodes]
        members += [
            f"service-{sanitise(c.name)}"
            for c in model.components.values()
            if c.layer == layer.number and f"service-{sanitise(c.name)}" in nodes
        ]
        if members:
            name = f"layer-{layer.number}"
            properties: dict[str, Value] = {
                "name": layer.name,
                "number": layer.number,
                "layer_type": layer.type.value,
                "network_domain": layer.domain,
            }
            groups[name] = Group(name, "continuum.groups.ComputationalLayer", tuple(members), properties)
    return groups


def _domain_properties(domain: NetworkDomain) -> dict[str, Value]:
    properties: dict[str, Value] = {"name": domain.name}
    if domain.access_delay is not None:
        properties["access_delay"] = float(domain.access_delay)
    if domain.bandwidth is not None:
        properties["bandwidth"] = float(domain.bandwidth)
    if domain.sub_domains:
        properties["sub_domains"] = list(domain.sub_domains)
    return properties


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
