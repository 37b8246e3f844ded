"""Brings the names of a DAG file together with those of the production file."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from orchestrator.diagnostics import Location
from orchestrator.production.model import Component, Dag, Edge
from orchestrator.production.naming import partition_of, sanitise, segment_order
from orchestrator.topology.reading import Findings


def with_deployed_names(
    dag: Dag, components: dict[str, Component], findings: Findings, unusable: Collection[str] = ()
) -> Dag:
    """The DAG with components named as the production file names them, and split ones replaced by their segments.

    Args:
        dag: The DAG as its file has it.
        components: What is deployed.
        findings: Where reports go.
        unusable: Names of components that the production file has with errors; nothing is taken for them.
    """
    names = _Names(dag, components, findings, unusable)
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

    def __init__(
        self, dag: Dag, components: dict[str, Component], findings: Findings, unusable: Collection[str]
    ) -> None:
        self._findings = findings
        self._unusable = unusable
        written = {*dag.components, *(edge.source for edge in dag.edges), *(edge.target for edge in dag.edges)}
        self._written = {sanitise(name) for name in written}
        self._components = components
        self._alternatives = dag.alternatives
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
        if written in self._components or written in self._unusable:
            return (written,)
        folded = sanitise(written)
        if folded in self._known:
            name = self._known[folded]
            self._findings.warning("A name is written differently.", f"{written!r} was taken for {name!r}.", place)
            return (name,)
        wild = self._look_up_wildcard(written)
        if wild:
            detail = f"{written!r} was taken for {wild!r}: X stands for any partition."
            self._findings.warning("A name is written differently.", detail, place)
            return (wild,)
        segments = self._segments.get(folded, [])
        if segments and not any(sanitise(name) in self._written for name in segments):
            ordered = tuple(sorted(segments, key=segment_order))
            detail = f"{written!r} is deployed as its segments; they were taken in the order {' → '.join(ordered)}."
            self._findings.warning("A component is split.", detail, place)
            return ordered
        for alternative in self._alternatives.get(written, ()):
            if sanitise(alternative) in self._known:
                name = self._known[sanitise(alternative)]
                detail = f"{name!r} is deployed for {written!r}, of which the DAG names it as an alternative."
                self._findings.note("An alternative component is deployed.", detail, place)
                return (name,)
        return (written,)

    def _look_up_wildcard(self, written: str) -> str:
        """The one deployed segment that differs only in that one of the two leaves the partition open."""
        base, partition = partition_of(written)
        number = partition.rpartition("_")[2]
        found = [
            name
            for name in self._segments.get(sanitise(base), ())
            if partition_of(name)[1].rpartition("_")[2] == number and "X" in partition_of(name)[1] + partition
        ]
        return found[0] if partition and len(found) == 1 else ""
