"""Reads alternative_workflows.yaml: other ways through an application, best first."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from pathlib import Path

from orchestrator.diagnostics import Location
from orchestrator.production.model import Alternative, Component, Dag
from orchestrator.production.naming import partition_of, sanitise
from orchestrator.production.read_companions import open_system, read_edges
from orchestrator.topology.located import Mapping, Scalar, Sequence
from orchestrator.topology.reading import Findings, Section, did_you_mean


def read_alternatives(path: Path, findings: Findings) -> tuple[Alternative, ...]:
    """Every alternative in the order of the file.

    One is an entry of ``alternative_dependencies``: a key that begins with ``alternative`` names it, ``dependency``
    holds its edges and ``metric`` what it was ranked by.
    """
    system = open_system(path, findings)
    if system is None:
        return ()
    node = system.take("alternative_dependencies")
    if node is not None and not isinstance(node, Sequence):
        system.wrong("alternative_dependencies", "a list of alternatives")
        return ()
    found: dict[str, Alternative] = {}
    for index, item in enumerate(node.items if node is not None else (), start=1):
        address = f"System.alternative_dependencies[{index}]"
        if not isinstance(item, Mapping):
            detail = f"{address} must be a mapping with a name, dependency and metric."
            findings.error("A value has the wrong type.", detail, item.location, address)
            continue
        alternative = _alternative(Section(item, address, findings), index)
        if alternative.name in found:
            detail = f"{alternative.name!r} was given before, in line {found[alternative.name].place.line}."
            findings.error("Two alternatives have one name.", detail, alternative.place, address)
        found.setdefault(alternative.name, alternative)
    system.finish(also=("name",))
    return tuple(found.values())


def _alternative(section: Section, index: int) -> Alternative:
    key = next((k for k in section.node.entries if k.casefold().startswith("alternative")), "")
    name = key
    if key:
        title = section.take(key)
        if isinstance(title, Scalar) and title.text.strip():
            name = title.text.strip()
    section.accept("dependency", "dependencies")
    section.need("dependency", "the edges of this alternative")
    edges = read_edges(section, "dependency")
    metric = section.section("metric")
    ranked: tuple[str, float] | None = None
    if metric is not None:
        what, value = metric.text("name"), metric.number("value")
        ranked = (what, value) if what and value is not None else None
        metric.finish()
    section.finish()
    return Alternative(name or f"alternative_{index}", edges, ranked, section.place)


def choose_alternative(
    alternatives: tuple[Alternative, ...], name: str, place: Location, findings: Findings
) -> Alternative | None:
    """The alternative of that name, or the best one; ``None`` if there is none, which is reported if one was asked for.

    Args:
        alternatives: Best first.
        name: As given by the operator; may be empty.
        place: The production file, for what is to be said of the name.
        findings: Where reports go.
    """
    if not name:
        if alternatives:
            best = alternatives[0]
            ranked = f" ({best.metric[0]} {best.metric[1]:g})" if best.metric else ""
            detail = f"{best.name!r}{ranked}, the first of {len(alternatives)}, was taken. --alternative takes another."
            findings.note("The best alternative was taken.", detail, best.place)
            return best
        return None
    found = next((one for one in alternatives if sanitise(one.name) == sanitise(name)), None)
    if found is None:
        there = did_you_mean(name, (one.name for one in alternatives)) or " There is no alternative_workflows.yaml."
        findings.error("No such alternative.", f"--alternative names {name!r}.{there}", place, "--alternative")
    return found


def dag_of(alternative: Alternative, dag: Dag | None) -> Dag:
    """The DAG that an alternative makes of an application."""
    places: dict[str, Location] = {}
    for edge in alternative.edges:
        places.setdefault(edge.source, edge.place)
        places.setdefault(edge.target, edge.place)
    return Dag(places, alternative.edges, dag.alternatives if dag else {})


def without_other_workflows(
    components: AbstractMapping[str, Component],
    chosen: Alternative,
    dag: Dag | None,
    alternatives: tuple[Alternative, ...],
    findings: Findings,
) -> dict[str, Component]:
    """The components without those that only other workflows of the application have; a note names these."""
    own = {_whole(name) for edge in chosen.edges for name in (edge.source, edge.target)}
    others = {_whole(name) for name in (dag.components if dag else ())}
    others |= {_whole(name) for one in alternatives for edge in one.edges for name in (edge.source, edge.target)}
    left = [name for name in components if _whole(name) in others - own]
    if left:
        detail = f"{', '.join(left)}: not part of {chosen.name!r}; not deployed."
        findings.note("Components of other workflows.", detail, chosen.place)
    return {name: component for name, component in components.items() if name not in left}


def _whole(name: str) -> str:
    return sanitise(partition_of(name)[0])
