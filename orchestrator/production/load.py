"""Loads a production file and the files that go with it into the canonical model."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, Location, has_errors
from orchestrator.production.layout import Layout, find_layout
from orchestrator.production.model import Component, Dag, Edge, Production
from orchestrator.production.naming import partition_of, sanitise, segment_order
from orchestrator.production.read_companions import read_dag, read_partitions, read_physical_nodes, read_qos
from orchestrator.production.read_components import read_components
from orchestrator.production.read_resources import read_domains
from orchestrator.topology.located import Document, Mapping, load_document
from orchestrator.topology.reading import Findings, Section, kind_of


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read.

    Attributes:
        model: The deployment; ``None`` if it cannot be made sense of.
        diagnostics: Every finding so far.
        root: The application's folder, where components have their sources.
        layout: Which files were read.
        texts: Text of the production file.
    """

    model: Production | None
    diagnostics: tuple[Diagnostic, ...]
    root: Path
    layout: Layout
    text: str = field(default="", repr=False)


def load_production(path: Path) -> Loaded:
    """Read a production file, and the files beside it or in the folders of the application layout."""
    return load_production_document(load_document(path), path)


def load_production_document(document: Document, path: Path) -> Loaded:
    """The same, for a production file that was read already."""
    layout = find_layout(path)
    findings = Findings()
    findings.extend(document.diagnostics)
    system = _system(document, findings)
    if system is None:
        return Loaded(None, findings.all(), layout.root, layout, document.text)
    name = system.need_text("name", "the application's name")
    deployment_name = system.text("DeploymentName")
    domains = read_domains(system)
    components = read_components(system)
    system.finish(also=("Resources",))
    partitions = read_partitions(layout.partitions, findings) if layout.partitions else {}
    physical = read_physical_nodes(layout.physical_nodes, findings) if layout.physical_nodes else ()
    constraints = read_qos(layout.qos, findings)
    dag, assumed = _dag(layout, components, findings)
    if not name or dag is None or (has_errors(document.diagnostics) and not components):
        return Loaded(None, findings.all(), layout.root, layout, document.text)
    model = Production(
        name=name,
        deployment_name=deployment_name,
        domains=domains,
        components=components,
        dag=dag,
        place=system.place,
        name_place=system.value_place("name"),
        dag_assumed=assumed,
        constraints=constraints,
        physical=physical,
        partitions=partitions,
    )
    return Loaded(model, findings.all(), layout.root, layout, document.text)


def _system(document: Document, findings: Findings) -> Section | None:
    if document.root is None:
        return None
    if not isinstance(document.root, Mapping):
        detail = f"A production file is a mapping with System at its top; this is {kind_of(document.root)}."
        findings.error("This is no production file.", detail, document.root.location)
        return None
    top = Section(document.root, "", findings)
    key = "system" if not top.has("System") and top.has("system") else "System"
    if key == "system":
        findings.warning("A key is written differently.", "'system' was taken for 'System'.", top.key_place("system"))
    if not top.has(key):
        detail = "A production file has the key System at its top; a service template tosca_definitions_version."
        findings.error("This is no production file.", detail, top.place)
        return None
    system = top.section(key)
    top.finish()
    if system is not None:
        system.address = "System"
    return system


def _dag(layout: Layout, components: dict[str, Component], findings: Findings) -> tuple[Dag | None, bool]:
    """The DAG and whether it was assumed."""
    if layout.dag is not None:
        dag = read_dag(layout.dag, findings)
        return (_with_names_of(dag, components, findings), False) if dag else (None, False)
    names = tuple(components)
    places = {name: component.place for name, component in components.items()}
    edges = tuple(Edge(a, b, 1.0, components[b].place) for a, b in pairwise(names))
    if len(names) > 1:
        chain = " → ".join(names) if len(names) <= 10 else f"{names[0]} → … → {names[-1]} ({len(names)} components)"
        detail = (
            f"There is no application_dag.yaml beside {layout.production.name} or in {layout.root / 'common_config'}; "
            f"the components were taken to follow each other in the order of the file: {chain}."
        )
        findings.warning("There is no DAG file.", detail, Location(str(layout.production), 1, 1))
    return Dag(places, edges), True


def _with_names_of(dag: Dag, components: dict[str, Component], findings: Findings) -> Dag:
    """The DAG with components named as the production file names them, and split ones replaced by their segments."""
    names = _Names(dag, components, findings)
    places = {name: place for written, place in dag.components.items() for name in names.of(written, place)}
    edges: dict[tuple[str, str], Edge] = {}
    for written, place in dag.components.items():
        segments = names.of(written, place)
        for a, b in pairwise(segments):
            edges[a, b] = Edge(a, b, 1.0, place)
    for edge in dag.edges:
        source, target = names.of(edge.source, edge.place)[-1], names.of(edge.target, edge.place)[0]
        edges.setdefault((source, target), Edge(source, target, edge.probability, edge.place))
    return Dag(places, tuple(edges.values()))


class _Names:
    """What the names of a DAG mean in the production file: ``-`` and ``_`` are not told apart."""

    def __init__(self, dag: Dag, components: dict[str, Component], findings: Findings) -> None:
        self._findings = findings
        self._written = {*dag.components, *(edge.source for edge in dag.edges), *(edge.target for edge in dag.edges)}
        self._components = components
        self._known = {sanitise(name): name for name in components}
        self._found: dict[str, tuple[str, ...]] = {}
        self._segments: dict[str, list[str]] = {}
        for name in components:
            base, partition = partition_of(name)
            if partition:
                self._segments.setdefault(sanitise(base), []).append(name)

    def of(self, written: str, place: Location) -> tuple[str, ...]:
        """The component, or the segments it was split into in order; the name itself if it is not deployed."""
        if written not in self._found:
            self._found[written] = self._look_up(written, place)
        return self._found[written]

    def _look_up(self, written: str, place: Location) -> tuple[str, ...]:
        if written in self._components:
            return (written,)
        folded = sanitise(written)
        if folded in self._known:
            name = self._known[folded]
            self._findings.warning("A name is written differently.", f"{written!r} was taken for {name!r}.", place)
            return (name,)
        named = {sanitise(name) for name in self._written}
        segments = self._segments.get(folded, [])
        if segments and not any(sanitise(name) in named for name in segments):
            ordered = tuple(sorted(segments, key=segment_order))
            detail = f"{written!r} is deployed as its segments; they were taken in the order {' → '.join(ordered)}."
            self._findings.warning("A component is split.", detail, place)
            return ordered
        return (written,)
