"""What may run at the same time besides the bound on everything: calls to one provider, plays, image builds."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.actions import Action
from orchestrator.planning.plan import Change
from orchestrator.providers.registry import is_provider, parallel_limit


@dataclass(frozen=True, slots=True)
class Limit:
    """So many changes at the same time, counted under a name."""

    name: str
    at_once: int


NO_LIMIT = Limit("", sys.maxsize)


class Limits:
    """Finds the limit that a change counts against: its provider's, else the tightest one of its operations.

    Args:
        executors: The executors of the run, which say how many operations they run at once.
    """

    def __init__(self, executors: ExecutorRegistry) -> None:
        self._executors = executors
        self._known: dict[str, Limit] = {}

    def of(self, change: Change) -> Limit:
        """The limit of a change; what is only taken out of the state has none."""
        if change.action is Action.FORGET:
            return NO_LIMIT
        provider = change.instance.provider
        if is_provider(provider):
            return self._look_up(f"provider {provider}", provider)
        kinds = {operation.artifact_type for operation in change.instance.operations.values()}
        found = [self._look_up(kind) for kind in sorted(kinds)]
        return min(found, key=lambda limit: limit.at_once, default=NO_LIMIT)

    def _look_up(self, name: str, provider: str = "") -> Limit:
        if name not in self._known:
            at_once = parallel_limit(provider) if provider else self._executors.parallel_limit(name)
            self._known[name] = Limit(name, at_once) if at_once else NO_LIMIT
        return self._known[name]
