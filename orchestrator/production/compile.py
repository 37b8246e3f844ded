"""Compiles the model of a production deployment to a TOSCA topology: the last place that speaks the input's words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, has_errors
from orchestrator.production.checks import check_production
from orchestrator.production.compile_resources import compile_resource
from orchestrator.production.compile_services import ServiceCompiler
from orchestrator.production.dag_order import in_order
from orchestrator.production.groups import build_groups
from orchestrator.production.load import Loaded
from orchestrator.production.model import Production
from orchestrator.production.naming import MAX_DEPLOYMENT, sanitise, shorten
from orchestrator.production.placement import place_components, resource_nodes, used_resources
from orchestrator.production.policies import build_policies
from orchestrator.topology.model import NodeTemplate, Topology, Value
from orchestrator.topology.reading import Findings


def compile_topology(loaded: Loaded) -> tuple[Topology, tuple[Diagnostic, ...]]:
    """The topology of a loaded production file.

    Args:
        loaded: What ``load_production`` gave; component sources are looked up in its root and digested.

    Returns:
        The topology, empty if there are errors, and the findings of this step only.
    """
    model = loaded.model
    findings = Findings()
    if model is None or has_errors(loaded.diagnostics):
        if model is not None:
            findings.extend(check_production(model))
        return Topology(""), findings.all()
    findings.extend(check_production(model))
    if has_errors(findings.all()):
        return Topology(""), findings.all()
    topology = _topology(model, loaded.root, findings)
    return (Topology("") if has_errors(findings.all()) else topology), findings.all()


def node_places(model: Production) -> dict[str, Location]:
    """Node name to the place in the production file that a message about the node should point to."""
    places: dict[str, Location] = {}
    for layer in model.layers:
        for resource in layer.resources:
            places.update(dict.fromkeys(resource_nodes(layer, resource), resource.place))
    for component in model.components.values():
        service = sanitise(component.name)
        places[f"image-{service}"] = component.place
        places[f"service-{service}"] = component.container.place
    return places


def _topology(model: Production, root: Path, findings: Findings) -> Topology:
    """Machines, clusters and platforms by layer, then images, then services from the first component on."""
    placed = place_components(model)
    used = used_resources(placed)
    nodes: dict[str, NodeTemplate] = {}
    for layer in model.layers:
        for resource in layer.resources:
            running = used.get((layer.number, resource.name), ())
            if running:
                nodes.update({node.name: node for node in compile_resource(layer, resource, model, running)})
    order = in_order(placed, model.dag.edges)
    compiler = ServiceCompiler(model, placed, root, findings)
    images = {name: compiler.image(placed[name]) for name in order}
    nodes.update({image.name: image for image in images.values()})
    services = [compiler.service(placed[name], images[name]) for name in order]
    nodes.update({service.name: service for service in services})
    return Topology(
        name=_name(model, findings),
        description=_description(model),
        nodes=nodes,
        groups=build_groups(model, nodes),
        policies=build_policies(model, nodes),
        outputs=_outputs(nodes),
    )


def _name(model: Production, findings: Findings) -> str:
    full = sanitise(model.name)
    name = shorten(full, MAX_DEPLOYMENT)
    if name != full:
        detail = f"The deployment is called {name!r}, since {full!r} has more than {MAX_DEPLOYMENT} characters."
        findings.warning("A name was shortened.", detail, model.name_place, "System.name")
    return name


def _description(model: Production) -> str:
    """What this was made from; the chosen one of several workflows is named."""
    workflow = f" with workflow {model.alternative!r}" if model.alternative else ""
    return f"{model.name}{workflow}, compiled from a production file."


def _outputs(nodes: Mapping[str, NodeTemplate]) -> dict[str, Value]:
    outputs: dict[str, Value] = {}
    for node in nodes.values():
        if node.type in ("continuum.nodes.K3sCluster", "continuum.nodes.ExistingK3sCluster"):
            outputs[f"{node.name}-api"] = {"get_attribute": [node.name, "api_endpoint"]}
        elif node.type in ("continuum.nodes.Oscar", "continuum.nodes.ExistingOscar"):
            outputs[f"{node.name}-url"] = {"get_attribute": [node.name, "endpoint"]}
            outputs[f"{node.name}-store"] = {"get_attribute": [node.name, "store_endpoint"]}
        elif node.type == "continuum.nodes.CloudFunctionPlatform":
            outputs[f"{node.name}-store"] = {"get_attribute": [node.name, "store_endpoint"]}
    return outputs
