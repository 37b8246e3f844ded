"""Checks names and numbers: that nothing is called the same, and everything can be called what it becomes."""

from __future__ import annotations

from orchestrator.production.model import Component, Layer, NetworkDomain, Production, Resource
from orchestrator.production.naming import MAX_RESOURCE, MAX_SERVICE, resource_node, sanitise
from orchestrator.production.placement import place_components, resource_nodes, used_resources
from orchestrator.topology.reading import Findings, did_you_mean

MAX_HOST_NAME = 63


def check_name(model: Production, findings: Findings) -> None:
    """The application's name can become a deployment's."""
    if not sanitise(model.name):
        detail = f"System.name is {model.name!r}; it needs at least one letter or digit."
        findings.error("A name cannot be used.", detail, model.name_place, "System.name")


def check_domains(model: Production, findings: Findings) -> None:
    """Network domains are told apart, those inside others are there, and there is something to run on."""
    keys = {domain.key for domain in model.domains}
    taken: dict[str, NetworkDomain] = {}
    for domain in model.domains:
        name = sanitise(domain.key)
        first = taken.setdefault(name, domain)
        if not name:
            detail = f"{domain.key!r} has no letter or digit that a group's name could be made of."
            findings.error("A name cannot be used.", detail, domain.place, domain.key)
        elif first is not domain:
            detail = f"{domain.key!r} and {first.key!r} (line {first.place.line}) both become {name!r}."
            findings.error("Two names become the same.", detail, domain.place, domain.key)
        for inner in domain.sub_domains:
            if inner not in keys:
                others = keys - {domain.key, *domain.sub_domains}
                detail = f"{domain.key} has {inner!r} inside it, which is not there.{did_you_mean(inner, others)}"
                findings.warning("No such network domain.", detail, domain.place, domain.key)
    if not model.layers:
        detail = "No network domain has a computational layer, so there is nothing to run on."
        findings.error("There are no layers.", detail, model.place, "System.NetworkDomains")


def check_layers(model: Production, findings: Findings) -> None:
    """Each layer has a number of its own, from 0 on: components refer to it."""
    numbers: dict[int, Layer] = {}
    for layer in (layer for domain in model.domains for layer in domain.layers):
        if layer.number in numbers:
            first = numbers[layer.number]
            detail = f"{layer.key} and {first.key} (line {first.number_place.line}) both have number {layer.number}."
            findings.error("Two layers have one number.", detail, layer.number_place, layer.key)
        elif layer.number < 0:
            detail = f"{layer.key} has number {layer.number}; it cannot be below 0."
            findings.error("A number is out of range.", detail, layer.number_place, layer.key)
        numbers.setdefault(layer.number, layer)


def check_resource_names(model: Production, findings: Findings) -> None:
    """Resources of a layer are told apart, and their names are short enough for host names."""
    for layer in (layer for domain in model.domains for layer in domain.layers):
        taken: dict[str, Resource] = {}
        for resource in layer.resources:
            name = sanitise(resource.name)
            host = f"{resource_node(layer.number, resource.name)}-{resource.total_nodes - 1}"
            if not name:
                detail = f"{resource.name!r} has no letter or digit that a host name could be made of."
                findings.error("A name cannot be used.", detail, resource.place, resource.name)
            elif len(name) > MAX_RESOURCE or len(host) > MAX_HOST_NAME:
                detail = (
                    f"As a host name {resource.name!r} is {name!r}: {len(name)} characters, at most {MAX_RESOURCE} "
                    f"fit. Its last machine would be called {host!r}."
                )
                findings.error("A name is too long.", detail, resource.place, resource.name)
            elif name in taken:
                first = taken[name]
                detail = (
                    f"On {layer.key}, {resource.name!r} and {first.name!r} (line {first.place.line}) are both {name!r}."
                )
                findings.error("Two names become the same.", detail, resource.place, resource.name)
            taken.setdefault(name, resource)


def check_node_names(model: Production, findings: Findings) -> None:
    """No resource is called what another one's cluster or platform is called: ``pi-k3s`` beside ``pi``."""
    used = used_resources(place_components(model))
    taken: dict[str, Resource] = {}
    for layer in model.layers:
        for resource in layer.resources:
            if (layer.number, resource.name) not in used:
                continue
            for node in resource_nodes(layer, resource):
                first = taken.setdefault(node, resource)
                if first is not resource and sanitise(first.name) != sanitise(resource.name):
                    detail = (
                        f"Of {first.name!r} (line {first.place.line}) and {resource.name!r}, one becomes machines and "
                        f"the other a cluster on machines that would both be called {node!r}. Rename one of them."
                    )
                    findings.error("Two names become the same.", detail, resource.place, resource.name)


def check_component_names(model: Production, findings: Findings) -> None:
    """There are components, and their services are told apart and have names that OSCAR accepts."""
    taken: dict[str, Component] = {}
    if not model.components and not model.unusable:
        findings.error(
            "There are no components.", "System.Components holds no component that can be used.", model.place
        )
    for component in model.components.values():
        name = sanitise(component.name)
        if not name:
            detail = f"{component.name!r} has no letter or digit that a service name could be made of."
            findings.error("A name cannot be used.", detail, component.place, component.name)
        elif len(name) > MAX_SERVICE:
            detail = f"As a service name {component.name!r} has {len(name)} characters; OSCAR allows {MAX_SERVICE}."
            findings.error("A name is too long.", detail, component.place, component.name)
        elif name in taken:
            first = taken[name]
            detail = f"{component.name!r} and {first.name!r} (line {first.place.line}) both become {name!r}."
            findings.error("Two names become the same.", detail, component.place, component.name)
        taken.setdefault(name, component)
