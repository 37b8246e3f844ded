"""Order in a graph of addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.errors import DeployError


class DependencyCycleError(DeployError):
    """Nodes need each other in a circle, so that none can come first."""

    exit_code = 2

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(
            "Nodes depend on each other in a circle.",
            detail=" → ".join((*cycle, cycle[0])) + ": none of them can be made first.",
            resolution="Remove one of these dependencies from the input.",
        )
        self.cycle = cycle


def topological_order(edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Every key of ``edges`` after the keys it points to; ties in the order given.

    Args:
        edges: Address to the addresses that must come before it; ones that are no key are ignored.

    Raises:
        DependencyCycleError: If there is a circle; names its members.
    """
    order: dict[str, None] = {}
    on_path: dict[str, None] = {}
    for start in edges:
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            address, done = stack.pop()
            if done:
                on_path.pop(address)
                order[address] = None
            elif address in on_path:
                path = tuple(on_path)
                raise DependencyCycleError(path[path.index(address) :])
            elif address not in order:
                on_path[address] = None
                stack.append((address, True))
                pending = [t for t in edges[address] if t in edges and t not in order]
                stack.extend((target, False) for target in reversed(pending))
    return tuple(order)
