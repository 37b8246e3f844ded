"""What a name outside the production file means among the deployed components, and the ways between these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

from orchestrator.production.model import Annotations, Production, QosConstraint
from orchestrator.production.naming import partition_of, sanitise, segment_order


class DeployedNames:
    """Finds components by the names that other files use: ``-`` and ``_`` are not told apart, nor are capitals.

    A component that was split is found as its segments, and ``…_partitionX_1`` as the first segment of whichever
    partition is deployed.
    """

    def __init__(self, model: Production) -> None:
        self._components = model.components
        self._folded: dict[str, str] = {}
        self._segments: dict[str, list[str]] = {}
        for name in model.components:
            self._folded.setdefault(sanitise(name), name)
            base, partition = partition_of(name)
            if partition:
                self._segments.setdefault(sanitise(base), []).append(name)

    def of(self, name: str) -> tuple[str, ...]:
        """The component, or its segments in order; empty if none of them is deployed."""
        if name in self._components:
            return (name,)
        folded = sanitise(name)
        if folded in self._folded:
            return (self._folded[folded],)
        base, partition = partition_of(name)
        if "X" in partition:
            number = partition.rpartition("_")[2]
            segments = self._segments.get(sanitise(base), ())
            return tuple(s for s in segments if partition_of(s)[1].rpartition("_")[2] == number)[:1]
        return tuple(sorted(self._segments.get(folded, ()), key=segment_order))

    def way(self, names: Sequence[str]) -> tuple[str, ...]:
        """All of these components in order, split ones as their segments; empty if one is not deployed."""
        found = [self.of(name) for name in names]
        return tuple(part for parts in found for part in parts) if all(found) else ()


def annotations_by_component(model: Production) -> dict[str, Annotations]:
    """What the code of each component is annotated with; a segment of a split component has that component's."""
    folded = {sanitise(name): annotations for name, annotations in model.annotations.items()}
    found: dict[str, Annotations] = {}
    for name in model.components:
        base, partition = partition_of(name)
        own = model.annotations.get(name) or (folded.get(sanitise(base)) if partition else None)
        if own is not None:
            found[name] = own
    return found


def annotated_constraints(model: Production) -> tuple[QosConstraint, ...]:
    """Times that annotations set, for components and ways that no constraint of a file is about.

    The files of constraints are made from the annotations, and edited afterwards: they count more.
    """
    names = DeployedNames(model)
    known = {(c.is_global, names.way(c.components)) for c in model.constraints}
    found: list[QosConstraint] = []
    for asked in model.annotations.values():
        key = f"annotated-{sanitise(asked.component)}"
        way = (*asked.previous, asked.component)
        times = ((asked.local_time, (asked.component,), False), (asked.global_time, way, True))
        found.extend(
            QosConstraint(key, components, time, is_global, asked.place)
            for time, components, is_global in times
            if time is not None and time > 0 and names.of(asked.component)
            if not (is_global and len(components) == 1)
            if (is_global, names.way(components)) not in known
        )
    return tuple(found)


def first_gap(
    way: Sequence[str], joined: AbstractSet[tuple[str, str]], after: Mapping[str, Sequence[str]]
) -> tuple[str, str, bool] | None:
    """The first two neighbours of a way that no edge joins, and whether other components lie between them.

    Args:
        way: Components in order.
        joined: Source and target of every edge.
        after: Component to the components that get its results.
    """
    gap = next((step for step in pairwise(way) if step not in joined), None)
    return None if gap is None else (*gap, is_reachable(gap[0], gap[1], after))


def is_reachable(start: str, end: str, after: Mapping[str, Sequence[str]]) -> bool:
    """Whether results of ``start`` come to ``end``, directly or through others."""
    seen = {start}
    waiting = [start]
    for name in waiting:  # grows while it is walked
        for following in after.get(name, ()):
            if following == end:
                return True
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return False
