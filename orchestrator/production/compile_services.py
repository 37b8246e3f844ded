"""Compiles components: an image each, and the service that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.production.compile_resources import HOSTED_ON
from orchestrator.production.dag_order import predecessors
from orchestrator.production.layout import find_environment, find_source, wanted_source
from orchestrator.production.model import Component, Edge, Production
from orchestrator.production.placement import Placed
from orchestrator.topology.located import Mapping as MappingNode
from orchestrator.topology.located import Scalar, load_document
from orchestrator.topology.model import Artifact, NodeTemplate, Requirement, Value
from orchestrator.topology.reading import Findings, kind_of
from orchestrator.topology.source_digest import source_digest

SENDS_TO = "continuum.relationships.SendsTo"
RUNS_IMAGE = "continuum.relationships.RunsImage"

_OSCAR_SERVICE = "continuum.nodes.OscarService"
_CLOUD_FUNCTION = "continuum.nodes.CloudFunction"
_MAX_VARIABLE = 255
"""Longer names of variables are of no use, and beyond 1024 characters the template could not be read again."""


class ServiceCompiler:
    """Builds the images and services of one model; the model has been checked.

    Args:
        model: The model.
        placed: Where its components run.
        root: The application's folder.
        findings: Where reports go.
    """

    def __init__(self, model: Production, placed: Mapping[str, Placed], root: Path, findings: Findings) -> None:
        self.placed = placed
        self.root = root
        self.findings = findings
        self.before = predecessors(model.dag.edges)
        self.after: dict[str, list[Edge]] = {}
        for edge in model.dag.edges:
            self.after.setdefault(edge.source, []).append(edge)

    def image(self, placed: Placed) -> NodeTemplate:
        """The image of a component."""
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
            # The slash says that it is a folder: readers that look a file up want to know.
            artifacts["source"] = Artifact(f"{source.as_posix()}/", "continuum.artifacts.ComponentSource")
        elif not component.container.image:
            detail = (
                f"Component {component.name!r} has neither an image nor sources under {self.root / 'src'}. Name its "
                f"image, or put its code into {wanted_source(component.name)}."
            )
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

    def service(self, placed: Placed, image: NodeTemplate) -> NodeTemplate:
        """The service of a component, with the ways that its results take."""
        component, container = placed.component, placed.component.container
        before = {self.placed[name].service for name in self.before.get(component.name, ()) if name in self.placed}
        # In an order of their own, so that edges in another order in the file change nothing.
        inputs = [f"{name}/output" for name in sorted(before)] or [f"{placed.service}/input"]
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
            type=_CLOUD_FUNCTION if placed.runs_in_cloud_functions else _OSCAR_SERVICE,
            properties=properties,
            requirements=self._requirements(placed, image),
        )

    def _requirements(self, placed: Placed, image: NodeTemplate) -> tuple[Requirement, ...]:
        following = [
            Requirement(
                "connects_to",
                f"service-{self.placed[edge.target].service}",
                SENDS_TO,
                {"probability": edge.probability} if edge.probability != 1 else {},
            )
            for edge in sorted(self.after.get(placed.component.name, ()), key=lambda edge: edge.target)
            if edge.target in self.placed
        ]
        host = Requirement("host", placed.platform, HOSTED_ON)
        return (host, Requirement("image", image.name, RUNS_IMAGE), *following)

    def _environment(self, placed: Placed) -> dict[str, Value]:
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
                if len(key) > _MAX_VARIABLE:
                    detail = f"A variable's name has at most {_MAX_VARIABLE} characters; this has {len(key)}."
                    self.findings.error("A name is too long.", detail, document.root.keys[key].location)
                elif isinstance(node, Scalar):
                    environment[key] = "" if node.is_null else node.text
                else:
                    detail = f"An environment variable is a text; {key} is {kind_of(node)}."
                    self.findings.error("A value has the wrong type.", detail, node.location, key)
        elif document.root is not None:
            detail = f"{path.name} must be a mapping of names to values; it is {kind_of(document.root)}."
            self.findings.error("A value has the wrong type.", detail, document.root.location)
        return environment
