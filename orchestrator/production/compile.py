"""Compiles the model of a production deployment to a TOSCA topology: the last place that speaks the input's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, has_errors
from orchestrator.production.checks import check_production
from orchestrator.production.dag_order import in_order, predecessors
from orchestrator.production.layout import find_environment, find_source
from orchestrator.production.load import Loaded
from orchestrator.production.model import Component, Layer, LayerType, Production, Resource
from orchestrator.production.naming import MAX_DEPLOYMENT, resource_node, sanitise, shorten
from orchestrator.production.os_version import render_version
from orchestrator.production.policies import build_groups, build_policies
from orchestrator.production.units import render_size
from orchestrator.topology.located import Mapping as MappingNode
from orchestrator.topology.located import Scalar, load_document
from orchestrator.topology.model import Artifact, NodeTemplate, Requirement, Topology, Value
from orchestrator.topology.reading import Findings, kind_of
from orchestrator.topology.source_digest import source_digest

HOSTED_ON = "tosca.relationships.HostedOn"
SENDS_TO = "continuum.relationships.SendsTo"
RUNS_IMAGE = "continuum.relationships.RunsImage"

_MACHINES = {
    LayerType.VIRTUAL: "continuum.nodes.VirtualMachine",
    LayerType.PHYSICAL_TO_BE_PROVISIONED: "continuum.nodes.PhysicalMachine",
    LayerType.PHYSICAL_ALREADY_PROVISIONED: "continuum.nodes.ExistingMachine",
}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A component with the layer and resource it runs on."""

    component: Component
    layer: Layer
    resource: Resource

    @property
    def service(self) -> str:
        return sanitise(self.component.name)

    @property
    def machines(self) -> str:
        return resource_node(self.layer.number, self.resource.name)


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
    topology = _Compiler(model, loaded.root, findings).topology()
    return (Topology("") if has_errors(findings.all()) else topology), findings.all()


def node_places(model: Production) -> dict[str, Location]:
    """Node name to the place in the production file that a message about the node should point to."""
    places: dict[str, Location] = {}
    for layer in model.layers:
        for resource in layer.resources:
            machines = resource_node(layer.number, resource.name)
            places.update(dict.fromkeys((machines, f"{machines}-k3s", f"{machines}-oscar"), resource.place))
    for component in model.components.values():
        service = sanitise(component.name)
        places[f"image-{service}"] = component.place
        places[f"service-{service}"] = component.container.place
    return places


class _Compiler:
    """Builds the nodes of one model; the model has been checked."""

    def __init__(self, model: Production, root: Path, findings: Findings) -> None:
        self.model = model
        self.root = root
        self.findings = findings
        self.placed = {c.name: p for c in model.components.values() if (p := _place(c, model)) is not None}
        self.before = predecessors(model.dag.edges)

    def topology(self) -> Topology:
        """Machines, clusters and platforms by layer, then images, then services from the first component on."""
        nodes: dict[str, NodeTemplate] = {}
        used = {(p.layer.number, p.resource.name): p for p in self.placed.values()}
        for layer in self.model.layers:
            for resource in layer.resources:
                placed = used.get((layer.number, resource.name))
                if placed is not None:
                    nodes.update({n.name: n for n in self._resource_nodes(placed)})
        order = in_order(self.placed, self.model.dag.edges)
        images = {name: self._image(self.placed[name]) for name in order}
        nodes.update({image.name: image for image in images.values()})
        services = [self._service(self.placed[name], images[name]) for name in order]
        nodes.update({service.name: service for service in services})
        return Topology(
            name=self._name(),
            description=f"{self.model.name}, compiled from a production file.",
            nodes=nodes,
            groups=build_groups(self.model, nodes),
            policies=build_policies(self.model, nodes),
            outputs=_outputs(nodes),
        )

    def _name(self) -> str:
        full = sanitise(self.model.name)
        name = shorten(full, MAX_DEPLOYMENT)
        if name != full:
            detail = f"The deployment is called {name!r}, since {full!r} has more than {MAX_DEPLOYMENT} characters."
            self.findings.warning("A name was shortened.", detail, self.model.name_place, "System.name")
        return name

    def _resource_nodes(self, placed: _Placed) -> tuple[NodeTemplate, ...]:
        machines = self._machines(placed.layer, placed.resource)
        existing = placed.layer.type is LayerType.PHYSICAL_ALREADY_PROVISIONED
        cluster = NodeTemplate(
            name=f"{machines.name}-k3s",
            type="continuum.nodes.ExistingK3sCluster" if existing else "continuum.nodes.K3sCluster",
            properties={
                "cluster_name": machines.name,
                "token": f"secret:{machines.name}-k3s-token",
                "node_labels": {
                    "continuum/layer": str(placed.layer.number),
                    "continuum/resource": sanitise(placed.resource.name),
                },
            },
            requirements=(Requirement("machine", machines.name, HOSTED_ON),),
        )
        return machines, cluster, self._platform(placed, cluster.name, existing)

    def _machines(self, layer: Layer, resource: Resource) -> NodeTemplate:
        properties: dict[str, Value] = {"resource": resource.name, "layer": layer.number}
        if resource.gpus:
            properties["num_gpus"] = resource.gpus
        flags = (
            ("sgx", resource.sgx),
            ("secure_boot", resource.secure_boot),
            ("measured_boot", resource.measured_boot),
        )
        properties.update({key: True for key, value in flags if value})
        if resource.storage_type:
            properties["storage_type"] = resource.storage_type
        if layer.type is LayerType.VIRTUAL:
            texts = (("image_id", resource.system.image_id), ("flavor", resource.flavor))
            properties.update({key: value for key, value in texts if value})
            if resource.spot:
                properties["spot"] = True
        else:
            hosts = self._hosts(layer, resource)
            if hosts:
                properties["hosts"] = hosts
        return NodeTemplate(
            name=resource_node(layer.number, resource.name),
            type=_MACHINES[layer.type],
            description=resource.description,
            properties=properties,
            capabilities=_capabilities(resource),
        )

    def _hosts(self, layer: Layer, resource: Resource) -> list[Value]:
        hosts: list[Value] = []
        for physical in self.model.physical:
            if physical.layer == layer.number and physical.name.casefold() == resource.name.casefold():
                hosts.extend(
                    {"host": host.address, "user": host.user, "key_file": host.key_file}
                    for host in physical.hosts[: resource.total_nodes]
                )
        return hosts

    def _platform(self, placed: _Placed, cluster: str, existing: bool) -> NodeTemplate:
        name = f"{placed.machines}-oscar"
        properties: dict[str, Value] = {
            "cluster_name": placed.machines,
            "password": f"secret:{name}-password",
            "store_secret_key": f"secret:{name}-store-key",
        }
        for physical in self.model.physical:
            same = physical.layer == placed.layer.number and physical.name.casefold() == placed.resource.name.casefold()
            if existing and same and physical.store_endpoint:
                properties["store_endpoint"] = physical.store_endpoint
        kind = "continuum.nodes.ExistingOscar" if existing else "continuum.nodes.Oscar"
        return NodeTemplate(name, kind, properties, requirements=(Requirement("host", cluster, HOSTED_ON),))

    def _image(self, placed: _Placed) -> NodeTemplate:
        component = placed.component
        source = find_source(self.root, component.name)
        digest = self._digest(source, component) if source else ""
        properties: dict[str, Value] = {"component": component.name}
        if component.container.image:
            properties["image"] = component.container.image
        properties["architecture"] = placed.resource.architecture
        artifacts: dict[str, Artifact] = {}
        if source and digest:
            properties["source_digest"] = digest
            artifacts["source"] = Artifact(source.as_posix(), "continuum.artifacts.ComponentSource")
        elif not component.container.image:
            detail = f"Component {component.name!r} has neither an image nor sources under {self.root / 'src'}."
            self.findings.error("A component has no image.", detail, component.container.place, component.name)
        return NodeTemplate(
            f"image-{placed.service}", "continuum.nodes.ComponentImage", properties, artifacts=artifacts
        )

    def _digest(self, source: Path, component: Component) -> str:
        try:
            return source_digest(self.root / source)
        except OSError as problem:
            detail = f"The sources of {component.name!r} under {source}: {problem}."
            self.findings.error("A component's sources cannot be read.", detail, component.place, component.name)
            return ""

    def _service(self, placed: _Placed, image: NodeTemplate) -> NodeTemplate:
        component, container = placed.component, placed.component.container
        before = [self.placed[name].service for name in self.before.get(component.name, ()) if name in self.placed]
        inputs = [f"{name}/output" for name in before] or [f"{placed.service}/input"]
        properties: dict[str, Value] = {
            "service": placed.service,
            "component": component.name,
            "layer": placed.layer.number,
            "memory_mb": container.memory_mb,
            "cpu": float(container.computing_units),
            "script": f"/opt/{component.name}/script.sh",
            "input_path": inputs[0],
            "output_path": f"{placed.service}/output",
        }
        if len(inputs) > 1:
            properties["more_input_paths"] = list(inputs[1:])
        properties["environment"] = self._environment(placed)
        if "source" in image.artifacts:
            properties["source_digest"] = {"get_property": [image.name, "source_digest"]}
        flags = (
            ("gpu", container.gpu),
            ("expose", container.expose),
            ("trusted_execution", container.trusted_execution),
            ("network_protection", container.network_protection),
            ("file_system_protection", container.file_system_protection),
        )
        properties.update({key: True for key, value in flags if value})
        return NodeTemplate(
            name=f"service-{placed.service}",
            type="continuum.nodes.OscarService",
            properties=properties,
            requirements=self._requirements(placed, image),
        )

    def _requirements(self, placed: _Placed, image: NodeTemplate) -> tuple[Requirement, ...]:
        following = [
            Requirement(
                "connects_to",
                f"service-{self.placed[edge.target].service}",
                SENDS_TO,
                {"probability": edge.probability} if edge.probability != 1 else {},
            )
            for edge in self.model.dag.edges
            if edge.source == placed.component.name and edge.target in self.placed
        ]
        host = Requirement("host", f"{placed.machines}-oscar", HOSTED_ON)
        return (host, Requirement("image", image.name, RUNS_IMAGE), *following)

    def _environment(self, placed: _Placed) -> dict[str, Value]:
        environment: dict[str, Value] = {
            "COMPONENT_NAME": placed.component.name,
            "COMPUTING_UNITS": f"{placed.component.container.computing_units:g}",
            "RESOURCE_ID": placed.resource.name,
        }
        path = find_environment(self.root, placed.component.name)
        if path is None:
            return environment
        document = load_document(path)
        self.findings.extend(d for d in document.diagnostics if d.summary != "The file is empty.")
        if isinstance(document.root, MappingNode):
            for key, node in document.root.entries.items():
                if isinstance(node, Scalar):
                    environment[key] = "" if node.is_null else node.text
                else:
                    detail = f"An environment variable is a text; {key} is {kind_of(node)}."
                    self.findings.error("A value has the wrong type.", detail, node.location, key)
        elif document.root is not None:
            detail = f"{path.name} must be a mapping of names to values; it is {kind_of(document.root)}."
            self.findings.error("A value has the wrong type.", detail, document.root.location)
        return environment


def _place(component: Component, model: Production) -> _Placed | None:
    layer = model.layer(component.layer)
    resource = layer.resource(component.container.resource) if layer else None
    return _Placed(component, layer, resource) if layer and resource else None


def _capabilities(resource: Resource) -> Mapping[str, Mapping[str, Value]]:
    host: dict[str, Value] = {"num_cpus": resource.cores, "mem_size": f"{resource.memory_mb} MB"}
    if resource.storage_gb:
        host["disk_size"] = render_size(resource.storage_gb)
    system: dict[str, Value] = {"architecture": resource.architecture}
    texts = (
        ("type", resource.system.type),
        ("distribution", resource.system.distribution),
        ("version", render_version(resource.system.version)),
    )
    system.update({key: value for key, value in texts if value})
    count = resource.total_nodes
    scalable: dict[str, Value] = {"min_instances": count, "max_instances": count, "default_instances": count}
    return {"host": host, "os": system, "scalable": scalable}


def _outputs(nodes: Mapping[str, NodeTemplate]) -> dict[str, Value]:
    outputs: dict[str, Value] = {}
    for node in nodes.values():
        if node.type in ("continuum.nodes.K3sCluster", "continuum.nodes.ExistingK3sCluster"):
            outputs[f"{node.name}-api"] = {"get_attribute": [node.name, "api_endpoint"]}
        elif node.type in ("continuum.nodes.Oscar", "continuum.nodes.ExistingOscar"):
            outputs[f"{node.name}-url"] = {"get_attribute": [node.name, "endpoint"]}
            outputs[f"{node.name}-store"] = {"get_attribute": [node.name, "store_endpoint"]}
    return outputs
