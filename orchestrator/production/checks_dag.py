"""Checks the application's graph: its components, circles, probabilities, and what is demanded of ways through it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from orchestrator.diagnostics import Location
from orchestrator.production.dag_order import find_cycle, predecessors, successors
from orchestrator.production.model import Edge, Production, QosConstraint
from orchestrator.production.naming import partition_of
from orchestrator.production.ways import DeployedNames, annotated_constraints, annotations_by_component, first_gap
from orchestrator.topology.reading import Findings, did_you_mean, nearest

MOST_CYCLES = 10
"""How many circles are reported at once."""

_ROUNDING = 0.001
_SIGNS = re.compile(r"[\W\d_]+")


def check_components(model: Production, findings: Findings) -> None:
    """The DAG and the production file have the same components.

    One that only the DAG has is left out if it stands at the beginning or the end: DAGs are written once for all
    deployments of an application. It is an error between others, whose results would end there, and if it resembles
    a component that is deployed.
    """
    if model.dag_assumed:
        return
    before, after = predecessors(model.dag.edges), successors(model.dag.edges)
    ends: dict[str, Location] = dict(model.dag.components)
    for edge in model.dag.edges:
        ends.setdefault(edge.source, edge.place)
        ends.setdefault(edge.target, edge.place)
    for name, place in ends.items():
        if name in model.components or name in model.unusable:
            continue
        detail = f"The DAG has {name!r}, which the production file does not deploy."
        near = _resembling(name, model.components)
        if near:
            findings.error("A component is missing.", f"{detail} Did you mean {near!r}?", place, name)
        elif name in before and name in after:
            detail += f" The results of {before[name][0]!r} are for it, and {after[name][0]!r} waits for its own."
            findings.error("A component is missing.", detail, place, name)
        else:
            findings.warning("A component is missing.", f"{detail} It is left out.", place, name)
    for component in model.components.values():
        if component.name not in ends and partition_of(component.name)[0] not in model.unusable:
            detail = (
                f"Component {component.name!r} is not in the DAG, so nothing comes to it and nothing goes on from it."
                f"{did_you_mean(component.name, ends)}"
            )
            findings.warning("A component is not in the DAG.", detail, component.place, component.name)


def _resembling(name: str, known: Iterable[str]) -> str:
    """A known name that is nearly the same; not one that differs in numbers and signs alone, as segments do."""
    near = nearest(name, known, cutoff=0.8)
    return near if near and _SIGNS.sub("", near.casefold()) != _SIGNS.sub("", name.casefold()) else ""


def check_cycles(model: Production, findings: Findings) -> None:
    """No component waits for itself; several circles are all reported, up to ``MOST_CYCLES``."""
    edges: list[Edge] = []
    for edge in model.dag.edges:
        if edge.source == edge.target:
            detail = f"{edge.source!r} would get its own results, without end."
            findings.error("The DAG has a cycle.", detail, edge.place, edge.source)
        else:
            edges.append(edge)
    for _ in range(MOST_CYCLES):
        cycle = find_cycle(edges)
        if not cycle:
            return
        way = " → ".join((*(edge.source for edge in cycle), cycle[0].source))
        detail = f"{way}: each waits for the one before it, so that none is first. Remove one of these dependencies."
        findings.error("The DAG has a cycle.", detail, cycle[-1].place, cycle[0].source)
        edges = [edge for edge in edges if edge is not cycle[-1]]


def check_probabilities(model: Production, findings: Findings) -> None:
    """The ways on from a component make sense together; warnings, since probabilities only feed estimates.

    A model with early exits sends each result one way: the probabilities of the ways on are those of its exits, and
    together at most 1 (what is missing ends there). Without early exits several ways may each get all results.
    """
    after: dict[str, list[Edge]] = {}
    for edge in model.dag.edges:
        after.setdefault(edge.source, []).append(edge)
    annotated = annotations_by_component(model)
    for name, edges in after.items():
        annotations = annotated.get(name)
        exits = annotations.early_exits if annotations else ()
        written = [edge.probability for edge in edges]
        total = sum(written)
        shown = " + ".join(f"{p:g}" for p in written)
        if exits and len(edges) > 1 and not _is_part_of(written, exits):
            asked = ", ".join(f"{p:g}" for p in exits)
            detail = (
                f"The exits of {name!r} are annotated with the probabilities {asked}; in the DAG its results go on "
                f"with {', '.join(f'{p:g}' for p in written)}."
            )
            findings.warning("Probabilities are not those of the early exits.", detail, edges[0].place, name)
        if len(edges) > 1 and total > 1 + _ROUNDING and (exits or all(p < 1 for p in written)):
            detail = f"The ways on from {name!r} have the probabilities {shown} = {total:g}, which is more than 1."
            findings.warning("Probabilities add up to more than 1.", detail, edges[-1].place, name)


def _is_part_of(written: Sequence[float], exits: Sequence[float]) -> bool:
    """Whether each probability is one of the exits', none used twice; of two that make a whole one is enough.

    A model with one early exit may be annotated with a single number: that of leaving, or that of going on.
    """
    if len(written) == 2 and abs(sum(written) - 1) <= _ROUNDING:
        return any(abs(e - p) <= _ROUNDING for e in exits for p in written)
    left = list(exits)
    for probability in written:
        match = next((e for e in left if abs(e - probability) <= _ROUNDING), None)
        if match is None:
            return False
        left.remove(match)
    return True


def check_constraints(model: Production, findings: Findings) -> None:
    """Times are demanded of components that are deployed, and of ways that the DAG has."""
    names = DeployedNames(model)
    joined = {(edge.source, edge.target) for edge in model.dag.edges}
    after = successors(model.dag.edges)
    told: set[tuple[str, ...]] = set()
    for constraint in (*model.constraints, *annotated_constraints(model)):
        unknown = [name for name in constraint.components if not names.of(name)]
        if model.unusable.intersection(constraint.components):
            continue
        if unknown:
            detail = (
                f"{constraint.key} is about {', '.join(map(repr, unknown))}, which is not deployed; it is left out."
            )
            hint = did_you_mean(unknown[0], model.components)
            findings.warning("No such component.", detail + hint, constraint.place, constraint.key)
            continue
        way = names.way(constraint.components)
        if constraint.components not in told:  # each layer has a file, and they may hold the same constraint
            told.add(constraint.components)
            _report_reading(constraint, way, findings)
        if constraint.is_global:
            gap = first_gap(way, joined, after)
            if gap is not None:
                _report_gap(constraint, gap, model.dag_assumed, findings)


def _report_reading(constraint: QosConstraint, way: Sequence[str], findings: Findings) -> None:
    """Tell what was made of names that are not those of the production file."""
    taken = " → ".join(way)
    if len(way) > len(constraint.components):
        detail = f"{constraint.key} is about a component that is deployed as its segments; it was taken for {taken}."
        findings.warning("A component is split.", detail, constraint.place, constraint.key)
    elif tuple(way) != constraint.components:
        detail = f"{' → '.join(constraint.components)!r} was taken for {taken!r}."
        findings.warning("A name is written differently.", detail, constraint.place, constraint.key)


def _report_gap(constraint: QosConstraint, gap: tuple[str, str, bool], assumed: bool, findings: Findings) -> None:
    """A way with a gap is an error, unless others lie in the gap or the DAG was only assumed."""
    before, behind, is_bridged = gap
    if is_bridged:
        detail = (
            f"{constraint.key} goes from {before!r} to {behind!r}, and in the DAG other components lie between them; "
            "their time counts as well."
        )
        findings.warning("A way leaves components out.", detail, constraint.place, constraint.key)
        return
    detail = f"{constraint.key} is about a way from {before!r} to {behind!r}, which the DAG does not have."
    if assumed:
        detail += " The DAG was assumed, since there is no application_dag.yaml."
        findings.warning("No such way through the application.", detail, constraint.place, constraint.key)
    else:
        findings.error("No such way through the application.", detail, constraint.place, constraint.key)
