"""Checks a production model as a whole: what can be known to go wrong before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from orchestrator.diagnostics import Diagnostic, Location
from orchestrator.production.dag_order import find_cycle
from orchestrator.production.model import Component, Layer, LayerType, Production, Resource
from orchestrator.production.naming import MAX_RESOURCE, MAX_SERVICE, sanitise
from orchestrator.topology.reading import Findings, did_you_mean


def check_production(model: Production) -> tuple[Diagnostic, ...]:
    """Every finding about the model, errors and warnings, in the order of the checks."""
    findings = Findings()
    if not sanitise(model.name):
        detail = f"System.name is {model.name!r}; it needs at least one letter or digit."
        findings.error("A name cannot be used.", detail, model.name_place, "System.name")
    _check_domains(model, findings)
    _check_layers(model, findings)
    _check_components(model, findings)
    _check_dag(model, findings)
    _check_constraints(model, findings)
    _check_physical(model, findings)
    _check_unused(model, findings)
    return findings.all()


def _check_domains(model: Production, findings: Findings) -> None:
    keys = {domain.key for domain in model.domains}
    for domain in model.domains:
        for name in domain.sub_domains:
            if name not in keys:
                detail = f"{domain.key} has {name!r} inside it, which is not there.{did_you_mean(name, keys)}"
                findings.warning("No such network domain.", detail, domain.place, domain.key)
    if not model.layers:
        detail = "No network domain has a computational layer, so there is nothing to run on."
        findings.error("There are no layers.", detail, model.place, "System.NetworkDomains")


def _check_layers(model: Production, findings: Findings) -> None:
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
        _check_names(layer.resources, layer, findings)


def _check_names(resources: Iterable[Resource], layer: Layer, findings: Findings) -> None:
    taken: dict[str, Resource] = {}
    for resource in resources:
        name = sanitise(resource.name)
        if not name:
            detail = f"{resource.name!r} has no letter or digit that a host name could be made of."
            findings.error("A name cannot be used.", detail, resource.place, resource.name)
        elif len(name) > MAX_RESOURCE:
            detail = (
                f"As a host name {resource.name!r} is {name!r}: {len(name)} characters, at most {MAX_RESOURCE} fit."
            )
            findings.error("A name is too long.", detail, resource.place, resource.name)
        elif name in taken:
            first = taken[name]
            detail = (
                f"On {layer.key}, {resource.name!r} and {first.name!r} (line {first.place.line}) are both {name!r}."
            )
            findings.error("Two names become the same.", detail, resource.place, resource.name)
        taken.setdefault(name, resource)


def _check_components(model: Production, findings: Findings) -> None:
    taken: dict[str, Component] = {}
    if not model.components:
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
        _check_placement(component, model, findings)


def _check_placement(component: Component, model: Production, findings: Findings) -> None:
    layer = model.layer(component.layer)
    if layer is None:
        numbers = ", ".join(str(found.number) for found in model.layers) or "none"
        detail = f"Component {component.name!r} runs on layer {component.layer}; the layers are {numbers}."
        findings.error("No such layer.", detail, component.layer_place, component.name)
        return
    container = component.container
    resource = layer.resource(container.resource)
    if resource is None:
        findings.error(
            "No such resource.", _missing_resource(component, layer, model), container.resource_place, component.name
        )
        return
    if layer.type is LayerType.NATIVE_CLOUD_FUNCTION:
        detail = (
            f"Component {component.name!r} is on {layer.key} of type {layer.type}, which this version cannot deploy."
        )
        findings.error("Cloud functions are not deployed yet.", detail, component.layer_place, component.name)
        return
    if resource.name != container.resource:
        detail = f"{container.resource!r} was taken for {resource.name!r}."
        findings.warning("A name is written differently.", detail, container.resource_place, component.name)
    _check_fit(component, resource, findings)


def _missing_resource(component: Component, layer: Layer, model: Production) -> str:
    wanted = component.container.resource
    detail = f"Component {component.name!r} selects {wanted!r}, which is not on layer {layer.number} ({layer.key})."
    others = [found.number for found in model.layers if found is not layer and found.resource(wanted)]
    if others:
        return f"{detail} It is on layer {others[0]}: change executionLayer or the resource."
    names = [r.name for r in layer.resources]
    return detail + (did_you_mean(wanted, names) if names else " That layer has no resources.")


def _check_fit(component: Component, resource: Resource, findings: Findings) -> None:
    container = component.container
    if container.memory_mb > resource.memory_mb:
        detail = (
            f"Component {component.name!r} needs {container.memory_mb} MB; a node of {resource.name!r} has "
            f"{resource.memory_mb} MB."
        )
        findings.error("A component fits on no node.", detail, container.place, component.name)
    if container.computing_units > resource.cores:
        detail = (
            f"Component {component.name!r} needs {container.computing_units:g} cores; a node of {resource.name!r} has "
            f"{resource.cores}."
        )
        findings.error("A component fits on no node.", detail, container.place, component.name)
    if container.gpu and resource.gpus == 0:
        detail = (
            f"Component {component.name!r} has GPURequirement, and {resource.name!r} has no accelerator of type GPU."
        )
        findings.error("A component needs a GPU.", detail, container.place, component.name)


def _check_dag(model: Production, findings: Findings) -> None:
    if model.dag_assumed:
        return
    ends: dict[str, Location] = dict(model.dag.components)
    for edge in model.dag.edges:
        ends.setdefault(edge.source, edge.place)
        ends.setdefault(edge.target, edge.place)
        if edge.source == edge.target:
            detail = f"{edge.source!r} would get its own results, without end."
            findings.error("The DAG has a cycle.", detail, edge.place, edge.source)
    for name, place in ends.items():
        if name not in model.components:
            hint = did_you_mean(name, model.components)
            detail = f"The DAG has {name!r}, which the production file does not deploy.{hint}"
            findings.error("A component is missing.", detail, place, name)
    for component in model.components.values():
        if component.name not in ends:
            detail = (
                f"Component {component.name!r} is not in the DAG, so nothing comes to it and nothing goes on from it."
                f"{did_you_mean(component.name, ends)}"
            )
            findings.warning("A component is not in the DAG.", detail, component.place, component.name)
    cycle = find_cycle([edge for edge in model.dag.edges if edge.source != edge.target])
    if cycle:
        way = " → ".join((*(edge.source for edge in cycle), cycle[0].source))
        detail = f"{way}: each waits for the one before it, so that none is first. Remove one of these dependencies."
        findings.error("The DAG has a cycle.", detail, cycle[-1].place, cycle[0].source)


def _check_constraints(model: Production, findings: Findings) -> None:
    edges = {(edge.source, edge.target) for edge in model.dag.edges}
    for constraint in model.constraints:
        unknown = [name for name in constraint.components if name not in model.components]
        if unknown:
            detail = (
                f"{constraint.key} is about {', '.join(map(repr, unknown))}, which is not deployed; it is left out."
            )
            hint = did_you_mean(unknown[0], model.components)
            findings.warning("No such component.", detail + hint, constraint.place, constraint.key)
            continue
        steps = pairwise(constraint.components)
        broken = next((step for step in steps if step not in edges), None) if constraint.is_global else None
        if broken:
            detail = (
                f"{constraint.key} is about a way from {broken[0]!r} to {broken[1]!r}, which the DAG does not have."
            )
            findings.error("No such way through the application.", detail, constraint.place, constraint.key)


def _check_physical(model: Production, findings: Findings) -> None:
    for physical in model.physical:
        layer = model.layer(physical.layer)
        resource = layer.resource(physical.name) if layer else None
        if resource is None:
            detail = f"physical_nodes.yaml describes {physical.name!r} on layer {physical.layer}, which is not there."
            findings.warning("No such resource.", detail, physical.place, physical.name)
        elif physical.hosts and len(physical.hosts) != resource.total_nodes:
            detail = (
                f"physical_nodes.yaml gives {len(physical.hosts)} machines for {physical.name!r}; totalNodes is "
                f"{resource.total_nodes}."
            )
            findings.warning("The number of machines differs.", detail, physical.place, physical.name)


def _check_unused(model: Production, findings: Findings) -> None:
    used = {(c.layer, c.container.resource.casefold()) for c in model.components.values()}
    for layer in model.layers:
        for resource in layer.resources:
            if (layer.number, resource.name.casefold()) not in used:
                detail = f"No component selects {resource.name!r} on layer {layer.number}; it is left out."
                findings.warning("A resource is not used.", detail, resource.place, resource.name)
