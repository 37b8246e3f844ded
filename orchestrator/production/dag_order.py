"""Order and circles in the graph of an application's components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.production.model import Edge


def successors(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """Component to the components that get its results, in the order of the file."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        found.setdefault(edge.source, []).append(edge.target)
    return found


def predecessors(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """Component to the components whose results it gets, in the order of the file."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        found.setdefault(edge.target, []).append(edge.source)
    return found


def find_cycle(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """The edges of one circle, in order; empty if there is none."""
    out: dict[str, list[Edge]] = {}
    for edge in edges:
        out.setdefault(edge.source, []).append(edge)
    done: set[str] = set()
    for start, first in out.items():
        path: list[Edge] = []
        on_path = {start: 0}
        stack = [iter(first)]
        while stack and start not in done:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                left = path.pop().target if path else start
                on_path.pop(left, None)
                done.add(left)
            elif step.target in on_path:
                return (*path[on_path[step.target] :], step)
            elif step.target not in done:
                path.append(step)
                on_path[step.target] = len(path)
                stack.append(iter(out.get(step.target, ())))
    return ()


def in_order(components: Mapping[str, object], edges: Sequence[Edge]) -> tuple[str, ...]:
    """Components with each after those whose results it gets; ties in the order of the file. Needs no circle."""
    before = predecessors([e for e in edges if e.source in components and e.target in components])
    waiting = {name: len(before.get(name, ())) for name in components}
    after = successors([e for e in edges if e.source in components and e.target in components])
    ready = [name for name in components if waiting[name] == 0]
    order: list[str] = []
    for name in ready:  # grows while it is walked
        order.append(name)
        for target in after.get(name, ()):
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return tuple(order)
