"""Where each component of a model runs, and what the nodes are called that this makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.production.model import Component, Layer, LayerType, NetworkDomain, Production, Resource
from orchestrator.production.naming import resource_node, sanitise


@dataclass(frozen=True, slots=True)
class Placed:
    """A component with the layer and resource it runs on."""

    component: Component
    layer: Layer
    resource: Resource

    @property
    def service(self) -> str:
        """Name of its service."""
        return sanitise(self.component.name)

    @property
    def machines(self) -> str:
        """Name of the node with the machines it runs on."""
        return resource_node(self.layer.number, self.resource.name)

    @property
    def platform(self) -> str:
        """Name of the node that its service is hosted on."""
        return platform_node(self.layer, self.resource)

    @property
    def runs_in_cloud_functions(self) -> bool:
        """Whether there are no machines under it."""
        return is_cloud_functions(self.layer)


def is_cloud_functions(layer: Layer) -> bool:
    """Whether a layer has cloud functions instead of machines."""
    return layer.type is LayerType.NATIVE_CLOUD_FUNCTION


def platform_node(layer: Layer, resource: Resource) -> str:
    """Name of the node that services on a resource are hosted on."""
    base = resource_node(layer.number, resource.name)
    return f"{base}-functions" if is_cloud_functions(layer) else f"{base}-oscar"


def resource_nodes(layer: Layer, resource: Resource) -> tuple[str, ...]:
    """Names of all nodes that a resource becomes, from the ground up."""
    base = resource_node(layer.number, resource.name)
    platform = platform_node(layer, resource)
    return (platform,) if is_cloud_functions(layer) else (base, f"{base}-k3s", platform)


def place_components(model: Production) -> dict[str, Placed]:
    """Every component whose layer and resource are there, by name, in the order of the file."""
    layers: dict[int, Layer] = {}
    resources: dict[tuple[int, str], Resource] = {}
    for layer in model.layers:
        if layers.setdefault(layer.number, layer) is layer:
            for resource in layer.resources:
                resources.setdefault((layer.number, resource.name.casefold()), resource)
    placed: dict[str, Placed] = {}
    for component in model.components.values():
        found = resources.get((component.layer, component.container.resource.casefold()))
        if found is not None:
            placed[component.name] = Placed(component, layers[component.layer], found)
    return placed


def used_resources(placed: Mapping[str, Placed]) -> dict[tuple[int, str], list[Placed]]:
    """Layer number and resource name to the components that run there."""
    used: dict[tuple[int, str], list[Placed]] = {}
    for place in placed.values():
        used.setdefault((place.layer.number, place.resource.name), []).append(place)
    return used


def domain_of(model: Production, layer: Layer) -> NetworkDomain | None:
    """The network domain that a layer belongs to."""
    return next((domain for domain in model.domains if domain.key == layer.domain), None)
