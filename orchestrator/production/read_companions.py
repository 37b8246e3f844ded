"""Reads the files that go with a production file: the DAG and partitions."""

from __future__ import annotations

from pathlib import Path

from orchestrator.diagnostics import Location
from orchestrator.production.model import Dag, Edge
from orchestrator.topology.located import Mapping, Scalar, Sequence, load_document
from orchestrator.topology.reading import Findings, Section, kind_of


def open_mapping(path: Path, findings: Findings, secret: bool = False) -> Section | None:
    """What a file holds at its top; ``None`` if it holds no mapping, which was reported then.

    Args:
        path: The file.
        findings: Where reports go.
        secret: Whether the file holds secrets, so that none of its lines may be shown.
    """
    document = load_document(path, secret=secret)
    findings.extend(document.diagnostics)
    if document.root is None:
        return None
    if not isinstance(document.root, Mapping):
        detail = f"{path.name} must be a mapping; it is {kind_of(document.root)}."
        findings.error("A value has the wrong type.", detail, document.root.location)
        return None
    return Section(document.root, "", findings)


def open_system(path: Path, findings: Findings) -> Section | None:
    """What stands under ``System`` in a file; ``None`` if there is none, which was reported then."""
    top = open_mapping(path, findings)
    if top is None:
        return None
    key = "System" if top.has("System") else "system"
    if not top.has(key):
        top.need("System", "the application")
        return None
    section = top.section(key)
    top.finish()
    return section


def read_dag(path: Path, findings: Findings) -> tuple[Dag | None, str]:
    """The components and the edges between them, and what the file calls the application."""
    system = open_system(path, findings)
    if system is None:
        return None, ""
    name = system.text("name").strip()
    components: dict[str, Location] = {}
    for item in system.texts("components"):
        if item.text in components:
            detail = f"{item.text!r} was named before, in line {components[item.text].line}."
            findings.warning("A component is named twice.", detail, item.location)
        components.setdefault(item.text, item.location)
    edges = read_edges(system, "dependencies")
    alternatives = _alternative_components(system)
    system.finish()
    return Dag(components, edges, alternatives), name


def _alternative_components(system: Section) -> dict[str, tuple[str, ...]]:
    section = system.section("alternative_components")
    if section is None:
        return {}
    return {name: tuple(item.text for item in section.texts(name)) for name in section.node.entries}


def read_edges(system: Section, key: str) -> tuple[Edge, ...]:
    """The edges in a list of ``[source, target, probability]``; one that is given twice counts once."""
    node = system.take(key)
    if node is None:
        return ()
    if not isinstance(node, Sequence):
        system.wrong(key, "a list of [source, target, probability]")
        return ()
    edges: list[Edge] = []
    seen: dict[tuple[str, str], int] = {}
    for item in node.items:
        edge = _edge(item, system) if isinstance(item, Sequence) else None
        if edge is None:
            detail = f"A dependency is written as [source, target, probability]; this is {kind_of(item)}."
            if not (isinstance(item, Sequence) and len(item.items) in (2, 3)):
                system.findings.error("A dependency is not understood.", detail, item.location)
        elif (edge.source, edge.target) in seen:
            first = seen[edge.source, edge.target]
            detail = f"{edge.source} → {edge.target} was given in line {first}; this one is left out."
            system.findings.warning("A dependency is given twice.", detail, edge.place)
        else:
            seen[edge.source, edge.target] = edge.place.line
            edges.append(edge)
    return tuple(edges)


def _edge(item: Sequence, system: Section) -> Edge | None:
    parts = item.items
    if len(parts) not in (2, 3) or not all(isinstance(part, Scalar) for part in parts):
        if len(parts) in (2, 3):
            detail = "Source and target of a dependency are names, its probability a number."
            system.findings.error("A dependency is not understood.", detail, item.location)
        return None
    texts = [part.text for part in parts if isinstance(part, Scalar)]
    probability = 1.0
    if len(parts) == 3 and isinstance(parts[2], Scalar):
        value = parts[2].value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            detail = f"The probability of {texts[0]} → {texts[1]} is {texts[2]!r}; it must be a number from 0 to 1."
            system.findings.error("A probability is not understood.", detail, parts[2].location)
        else:
            probability = float(value)
    return Edge(texts[0], texts[1], probability, item.location)


def read_partitions(path: Path, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Component to the names of its partitions."""
    top = open_mapping(path, findings)
    found: dict[str, tuple[str, ...]] = {}
    if top is None:
        return found
    for name, section in top.sections("components"):
        found[name] = tuple(item.text for item in section.texts("partitions"))
        section.finish()
    top.finish()
    return found
