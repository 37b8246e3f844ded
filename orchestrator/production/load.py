"""Loads a production file and the files that go with it into the canonical model."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, has_errors
from orchestrator.production.dag_names import with_deployed_names
from orchestrator.production.layout import Layout, ReadOptions, find_layout
from orchestrator.production.model import Component, Dag, Edge, Layer, NetworkDomain, Production
from orchestrator.production.read_companions import read_dag, read_partitions, read_physical_nodes, read_qos
from orchestrator.production.read_components import read_components
from orchestrator.production.read_resources import has_domains, read_domains
from orchestrator.topology.located import Document, Mapping, Scalar, load_document
from orchestrator.topology.reading import Findings, Section, kind_of

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
        layers = [layer for domain in domains for layer in domain.layers]
        components = self._components(system, layers)
        unusable = _names_written(system) - components.keys()
        deployment = system.text("DeploymentName").strip()
        dag, assumed, dag_name = self._dag(components, unusable)
        name, name_place = self._name(system, resources, dag_name)
        system.finish(also=("Resources", "Feasible", "toscas"))
        partitions = read_partitions(files["partitions"], findings) if "partitions" in files else {}
        physical = read_physical_nodes(files["physical_nodes"], findings) if "physical_nodes" in files else ()
        constraints = read_qos(self._layout.qos, findings)
        self._say_what_is_absent()
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
        )

    def _say_what_is_absent(self) -> None:
        """One note for all files that may be absent without anything being wrong."""
        absent = []
        if "partitions" not in self._layout.files:
            absent.append("no component_partitions.yaml: components and segments were taken as the file names them")
        if not self._layout.qos and "multi_cluster_qos" not in self._layout.files:
            absent.append("no qos_constraints.yaml: no time limits were assumed besides those of annotations")
        if absent:
            detail = f"There is {'; and '.join(absent)}."
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
        self, components: AbstractMapping[str, Component], unusable: frozenset[str]
    ) -> tuple[Dag | None, bool, str]:
        """The DAG, whether it was assumed, and what the file calls the application."""
        path = self._layout.files.get("dag")
        if path is not None:
            dag, name = read_dag(path, self._findings)
            named = with_deployed_names(dag, dict(components), self._findings, unusable) if dag else None
            return named, False, name
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
        return Dag(places, edges), True, ""


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
