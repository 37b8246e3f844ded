"""Groups of the topology: network domains and computational layers."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.production.model import NetworkDomain, Production
from orchestrator.production.naming import MAX_RESOURCE, sanitise, shorten
from orchestrator.production.placement import resource_nodes
from orchestrator.topology.model import Group, NodeTemplate, Value


def build_groups(model: Production, nodes: Mapping[str, NodeTemplate]) -> dict[str, Group]:
    """A group for each network domain and each layer that has nodes."""
    groups: dict[str, Group] = {}
    for domain in model.domains:
        grounds = tuple(
            name
            for layer in sorted(domain.layers, key=lambda found: found.number)
            for resource in layer.resources
            if (name := resource_nodes(layer, resource)[0]) in nodes
        )
        if grounds:
            name = f"domain-{shorten(sanitise(domain.key), MAX_RESOURCE)}"
            groups[name] = Group(name, "continuum.groups.NetworkDomain", grounds, _domain_properties(domain))
    services: dict[int, list[str]] = {}
    for component in model.components.values():
        service = f"service-{sanitise(component.name)}"
        if service in nodes:
            services.setdefault(component.layer, []).append(service)
    for layer in model.layers:
        made = [n for resource in layer.resources for n in resource_nodes(layer, resource) if n in nodes]
        members = [*made, *services.get(layer.number, ())]
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
