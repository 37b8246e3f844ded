"""Says which change is started next: what is ready, the longest remaining path first, within every bound. No I/O."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from orchestrator.engine.limits import NO_LIMIT, Limit
from orchestrator.planning.actions import REMOVALS
from orchestrator.planning.graph import topological_order
from orchestrator.planning.plan import Change
from orchestrator.planning.planner import MACHINE

_GONE_BEFORE = -1
"""Stands for the number of unmet dependencies of a change that was started or given up."""


class Schedule:
    """The changes of a plan that are still to be started.

    Every change is looked at a bounded number of times, so that thousands cost no more each than a few: unmet
    dependencies are counted, and what is ready lies in one heap a limit.

    Args:
        changes: Changes by address; no-ops count as done. Dependencies that are no change of the plan are ignored.
        parallelism: How many run at the same time at most.
        limit_of: What else bounds a change, such as the provider of its machine.
        estimates: Seconds that a change is expected to take, by address; one that is not known counts as an average
            one, and where none is known every one counts the same.

    Raises:
        DependencyCycleError: If changes wait for each other in a circle.
    """

    def __init__(
        self,
        changes: Mapping[str, Change],
        parallelism: int,
        limit_of: Callable[[Change], Limit] = lambda _change: NO_LIMIT,
        estimates: Mapping[str, float] | None = None,
    ) -> None:
        self._changes = {a: c for a, c in changes.items() if not c.is_noop}
        self._parallelism = parallelism
        self._limits = {a: limit_of(c) for a, c in self._changes.items()}
        self._dependants: dict[str, list[str]] = {a: [] for a in self._changes}
        self._unmet: dict[str, int] = {}
        after = {a: self._wait_for(c) for a, c in self._changes.items()}
        order = topological_order(after)
        for address, waited_for in after.items():
            self._unmet[address] = len(waited_for)
            for other in waited_for:
                self._dependants[other].append(address)
        self._urgency = self._longest_paths(order, estimates or {})
        self._position = {address: number for number, address in enumerate(order)}
        self._ready: dict[str, list[tuple[float, int, str]]] = {}
        self._running: Counter[str] = Counter()
        self._busy = 0
        for address in order:
            if not self._unmet[address]:
                self._push(address)

    @property
    def critical_path(self) -> float:
        """Estimated seconds (or, without estimates, changes) of the longest path: no apply can be faster."""
        return max(self._urgency.values(), default=0.0)

    def start(self) -> Iterator[Change]:
        """The changes to be started now, most urgent first; they count as running from then on."""
        while self._busy < self._parallelism:
            heads = [
                (heap[0], name)
                for name, heap in self._ready.items()
                if heap and self._running[name] < self._limits[heap[0][2]].at_once
            ]
            if not heads:
                return
            (_, _, address), name = min(heads)
            heapq.heappop(self._ready[name])
            self._unmet[address] = _GONE_BEFORE
            self._running[name] += 1
            self._busy += 1
            yield self._changes[address]

    def finish(self, address: str) -> None:
        """A running change has succeeded, so that what waited for it may go on."""
        self._stop(address)
        self._release(address)

    def fail(self, address: str) -> list[tuple[Change, str]]:
        """A running change has failed.

        Returns:
            The changes that will never be started because of it, and the address that each waited for in vain.
        """
        self._stop(address)
        return self._give_up(address)

    def give_up_all(self) -> list[Change]:
        """Nothing more is started; returns what was not started yet, in order."""
        left = [a for a in self._position if self._unmet[a] != _GONE_BEFORE]
        for address in left:
            self._unmet[address] = _GONE_BEFORE
        self._ready.clear()
        return [self._changes[address] for address in left]

    def _wait_for(self, change: Change) -> list[str]:
        return [a for a in dict.fromkeys(change.after) if a in self._changes and a != change.address]

    def _longest_paths(self, order: tuple[str, ...], estimates: Mapping[str, float]) -> dict[str, float]:
        usual = median(estimates.values()) if estimates else 1.0
        longest: dict[str, float] = {}
        for address in reversed(order):
            beyond = max((longest[d] for d in self._dependants[address]), default=0.0)
            longest[address] = max(0.0, estimates.get(address, usual)) + beyond
        return longest

    def _push(self, address: str) -> None:
        entry = (-self._urgency[address], self._position[address], address)
        heapq.heappush(self._ready.setdefault(self._limits[address].name, []), entry)

    def _stop(self, address: str) -> None:
        self._running[self._limits[address].name] -= 1
        self._busy -= 1

    def _release(self, address: str) -> None:
        for dependant in self._dependants[address]:
            if self._unmet[dependant] > 0:
                self._unmet[dependant] -= 1
                if not self._unmet[dependant]:
                    self._push(dependant)

    def _give_up(self, address: str) -> list[tuple[Change, str]]:
        """Leave out what needs ``address``, and what needs that; what can do without it goes on."""
        left_out: list[tuple[Change, str]] = []
        failed = [address]
        while failed:
            cause = failed.pop()
            for dependant in self._dependants[cause]:
                if self._unmet[dependant] <= 0:
                    continue
                if cause in can_do_without(self._changes[dependant]):
                    self._unmet[dependant] -= 1
                    if not self._unmet[dependant]:
                        self._push(dependant)
                else:
                    self._unmet[dependant] = _GONE_BEFORE
                    left_out.append((self._changes[dependant], cause))
                    failed.append(dependant)
        return left_out


def can_do_without(change: Change) -> tuple[str, ...]:
    """What a change waits for but does not need: all machines but the first, which carries the cluster's server."""
    return () if change.action in REMOVALS else change.instance.requirements.get(MACHINE, ())[1:]
