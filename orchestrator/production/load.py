"""Loads a production file and the files that go with it into the canonical model."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, has_errors
from orchestrator.production.candidates import check_candidates, read_candidates
from orchestrator.production.dag_names import with_deployed_names
from orchestrator.production.layout import Layout, ReadOptions, find_layout
from orchestrator.production.model import (
    Alternative,
    Component,
    Dag,
    Edge,
    Layer,
    LayerType,
    NetworkDomain,
    Production,
    QosConstraint,
)
from orchestrator.production.read_accounts import read_accounts
from orchestrator.production.read_alternatives import (
    choose_alternative,
    dag_of,
    read_alternatives,
    without_other_workflows,
)
from orchestrator.production.read_annotations import read_annotations
from orchestrator.production.read_companions import read_dag, read_partitions
from orchestrator.production.read_components import read_components
from orchestrator.production.read_containers import choose_image, images_of, read_containers
from orchestrator.production.read_inventory import with_inventory
from orchestrator.production.read_physical import read_physical_nodes
from orchestrator.production.read_qos import read_multi_cluster_qos, read_qos
from orchestrator.production.read_resources import has_domains, read_domains
from orchestrator.topology.located import Document, Mapping, Scalar, load_document
from orchestrator.topology.reading import Findings, Section, kind_of

_PHYSICAL = (LayerType.PHYSICAL_TO_BE_PROVISIONED, LayerType.PHYSICAL_ALREADY_PROVISIONED)
_TOP_KEYS = ("Components", "NetworkDomains", "Resources")
"""What a file without ``System`` holds at its top."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read.

    Attributes:
        model: The deployment; ``None`` if it cannot be made sense of.
        diagnostics: Every finding so far.
        root: The application's folder, where components have their sources.
        layout: Which files were read.
        text: Text of the production file.
    """

    model: Production | None
    diagnostics: tuple[Diagnostic, ...]
    root: Path
    layout: Layout
    text: str = field(default="", repr=False)


def load_production(path: Path, options: ReadOptions | None = None) -> Loaded:
    """Read a production file, and the files beside it or in the folders of the application layout."""
    return load_production_document(load_document(path), path, options)


def load_production_document(document: Document, path: Path, options: ReadOptions | None = None) -> Loaded:
    """The same, for a production file that was read already.

    Args:
        document: The file as read.
        path: Where it is.
        options: What the operator said about the input.
    """
    options = options or ReadOptions()
    findings = Findings()
    findings.extend(document.diagnostics)
    system = find_system(document, findings)
    layout = find_layout(path, options, system.text("DeploymentName").strip() if system is not None else "")
    model = _Reader(layout, options, findings, document).read(system) if system is not None else None
    return Loaded(model, findings.all(), layout.root, layout, document.text)


class _Reader:
    """Reads one application."""

    def __init__(self, layout: Layout, options: ReadOptions, findings: Findings, document: Document) -> None:
        self._layout = layout
        self._options = options
        self._findings = findings
        self._document = document

    def read(self, system: Section) -> Production | None:
        """The model, unless what was read is too little for one."""
        files, findings = self._layout.files, self._findings
        domains, resources = self._domains(system)
        if not domains and not has_domains(system) and resources is None:
            return None  # without layers nothing can be said of components
        if not system.boolean("Feasible", True):
            detail = "Feasible is false: the optimiser found no way to meet all demands, and this one misses some."
            findings.warning("The deployment is not feasible.", detail, system.value_place("Feasible"))
        layers = [layer for domain in domains for layer in domain.layers]
        components = self._components(system, layers)
        unusable = _names_written(system) - components.keys()
        deployment = system.text("DeploymentName").strip()
        alternatives = read_alternatives(files["alternatives"], findings) if "alternatives" in files else ()
        dag, assumed, dag_name, components, alternative = self._dag(components, unusable, alternatives)
        components = self._with_images(components, layers)
        name, name_place = self._name(system, resources, dag_name)
        system.finish(also=("Resources", "Feasible", "toscas"))
        partitions = read_partitions(files["partitions"], findings) if "partitions" in files else {}
        physical = read_physical_nodes(files["physical_nodes"], findings) if "physical_nodes" in files else ()
        if "inventory" in files:
            physical = with_inventory(physical, files["inventory"], layers, findings)
        annotations = read_annotations(files["annotations"], components, findings) if "annotations" in files else {}
        if "candidate_deployments" in files:
            check_candidates(components, read_candidates(files["candidate_deployments"], findings), findings)
        accounts = read_accounts(files["accounts"], findings) if "accounts" in files else ()
        constraints = self._constraints(deployment)
        self._say_what_is_absent(layers)
        if not name or dag is None or (has_errors(self._document.diagnostics) and not components):
            return None
        return Production(
            name=name,
            deployment_name=deployment,
            domains=domains,
            components=components,
            dag=dag,
            place=system.place,
            name_place=name_place,
            dag_assumed=assumed,
            constraints=constraints,
            physical=physical,
            partitions=partitions,
            unusable=frozenset(unusable),
            annotations=annotations,
            alternatives=alternatives,
            alternative=alternative,
            accounts=accounts,
        )

    def _constraints(self, deployment: str) -> tuple[QosConstraint, ...]:
        """Those of the application and its layers; where there are none, those of its clusters."""
        several = self._layout.files.get("multi_cluster_qos")
        if self._layout.qos or several is None:
            return read_qos(self._layout.qos, self._findings)
        return read_multi_cluster_qos(several, deployment or self._layout.deployment, self._findings)

    def _with_images(
        self, components: AbstractMapping[str, Component], layers: Sequence[Layer]
    ) -> dict[str, Component]:
        """The components, with images from containers.yaml where the production file names none."""
        path = self._layout.files.get("containers")
        without = [component for component in components.values() if not component.container.image]
        if path is None or not without:
            return dict(components)
        containers = read_containers(path, self._findings)
        made = dict(components)
        for component in without:
            layer = next((layer for layer in layers if layer.number == component.layer), None)
            resource = layer.resource(component.container.resource) if layer is not None else None
            image = choose_image(images_of(component.name, containers), resource.architecture) if resource else ""
            if image:
                made[component.name] = replace(component, container=replace(component.container, image=image))
                detail = f"{component.name!r} has no image of its own; {image!r} of {path.name} was taken."
                place = component.container.place_of("image")
                self._findings.note("An image was taken from another file.", detail, place, component.name)
        return made

    def _say_what_is_absent(self, layers: Sequence[Layer]) -> None:
        """One note for all files that may be absent without anything being wrong."""
        absent = []
        if not {"physical_nodes", "inventory"} & self._layout.files.keys() and any(
            layer.type in _PHYSICAL for layer in layers
        ):
            absent.append("no physical_nodes.yaml: where physical machines are stays open")
        if "partitions" not in self._layout.files:
            absent.append("no component_partitions.yaml: components and segments were taken as the file names them")
        if not self._layout.qos and "multi_cluster_qos" not in self._layout.files:
            absent.append("no qos_constraints.yaml: no time limits were assumed besides those of annotations")
        if absent:
            detail = f"There is {'; '.join(absent)}."
            self._findings.note("Files were not found.", detail, Location(str(self._layout.production), 1, 1))

    def _name(self, system: Section, resources: Section | None, dag_name: str) -> tuple[str, Location]:
        """The application's name, from where the files have it."""
        others = ((resources.text("name").strip() if resources is not None else "", "Resources"), (dag_name, "the DAG"))
        if not system.has("name"):
            for name, where in others:
                if name:
                    detail = f"{system.address} has no 'name'; that of {where}, {name!r}, was taken."
                    self._findings.warning("A key is missing.", detail, system.place, system.address)
                    return name, system.place
        return system.need_text("name", "the application's name"), system.value_place("name")

    def _domains(self, system: Section) -> tuple[tuple[NetworkDomain, ...], Section | None]:
        """The network domains, and the section beside the components that holds them, if they are in one."""
        inner = system.section("Resources") if isinstance(system.node.entries.get("Resources"), Mapping) else None
        candidates = self._layout.files.get("candidate_resources")
        if has_domains(system) or candidates is None:
            return read_domains(system), inner
        other = self._open(candidates)
        if other is None:
            return (), inner
        detail = f"There are no NetworkDomains in {self._layout.production.name}; those of {candidates} were taken."
        self._findings.warning("The resources are in another file.", detail, system.place, "System.NetworkDomains")
        domains = read_domains(other)
        other.finish(also=("name", "Resources"))
        return domains, other

    def _components(self, system: Section, layers: Sequence[Layer]) -> dict[str, Component]:
        candidates = self._layout.files.get("candidate_deployments")
        if system.has("Components") or candidates is None or self._layout.production.stem != "candidate_resources":
            return read_components(system, layers)
        other = self._open(candidates)
        if other is None:
            return {}
        detail = f"There are no components in {self._layout.production.name}; those of {candidates} were taken."
        self._findings.note("The components are in another file.", detail, system.place, "System.Components")
        return read_components(other, layers)

    def _open(self, path: Path) -> Section | None:
        document = load_document(path)
        self._findings.extend(document.diagnostics)
        return find_system(document, self._findings)

    def _dag(
        self,
        components: AbstractMapping[str, Component],
        unusable: frozenset[str],
        alternatives: tuple[Alternative, ...],
    ) -> tuple[Dag | None, bool, str, dict[str, Component], str]:
        """The DAG, whether it was assumed, what the file calls the application, its components, the alternative."""
        path = self._layout.files.get("dag")
        dag, name = read_dag(path, self._findings) if path is not None else (None, "")
        start = Location(str(self._layout.production), 1, 1)
        chosen = choose_alternative(alternatives, self._options.alternative, start, self._findings)
        if chosen is not None:
            kept = without_other_workflows(components, chosen, dag, alternatives, self._findings)
            best = with_deployed_names(dag_of(chosen, dag), kept, self._findings, unusable)
            return best, False, name, kept, chosen.name
        if path is not None:
            named = with_deployed_names(dag, dict(components), self._findings, unusable) if dag else None
            return named, False, name, dict(components), ""
        return self._assumed_dag(components), True, "", dict(components), ""

    def _assumed_dag(self, components: AbstractMapping[str, Component]) -> Dag:
        """Without a file: the components follow each other in the order of the production file."""
        places = {name: component.place for name, component in components.items()}
        names = tuple(components)
        edges = tuple(Edge(a, b, 1.0, components[b].place) for a, b in pairwise(names))
        if len(names) > 1:
            chain = " → ".join(names) if len(names) <= 10 else f"{names[0]} → … → {names[-1]} ({len(names)} components)"
            detail = (
                f"There is no application_dag.yaml beside {self._layout.production.name} or in "
                f"{self._layout.root / 'common_config'}; the components were taken to follow each other in the order "
                f"of the file: {chain}."
            )
            place = Location(str(self._layout.production), 1, 1)
            self._findings.warning("There is no DAG file.", detail, place)
        return Dag(places, edges)


def _names_written(system: Section) -> frozenset[str]:
    """Names of the components in the file, whether they can be used or not."""
    components = system.node.entries.get("Components")
    inner = components.entries.values() if isinstance(components, Mapping) else ()
    names = (node.entries.get("name") for node in inner if isinstance(node, Mapping))
    return frozenset(name.text.strip() for name in names if isinstance(name, Scalar) and not name.is_null)


def find_system(document: Document, findings: Findings) -> Section | None:
    """What describes the application: ``System``, or the whole file where that is left out."""
    if document.root is None:
        return None
    if not isinstance(document.root, Mapping):
        detail = f"A production file is a mapping with System at its top; this is {kind_of(document.root)}."
        findings.error("This is no production file.", detail, document.root.location)
        return None
    top = Section(document.root, "", findings)
    top.accept("System", "system")
    if not top.has("System"):
        if any(top.has(key) for key in _TOP_KEYS):
            detail = "There is no System at the top; the whole file was taken for it."
            findings.warning("A key is missing.", detail, top.place)
            top.address = "System"
            return top
        detail = "A production file has the key System at its top; a service template tosca_definitions_version."
        findings.error("This is no production file.", detail, top.place)
        return None
    system = top.section("System")
    top.finish()
    if system is not None:
        system.address = "System"
    return system
