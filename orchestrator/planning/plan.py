"""A plan: every change with its reasons, as data; apply does what it says and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.substitution import Substitution

CHANGING = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE, Action.FORGET)


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one node instance.

    Attributes:
        address: The node instance.
        type: Its node type.
        action: What is done.
        reasons: Why, in words, most important first; never empty.
        instance: What is wanted; for a removal, what it was made from.
        after: Addresses whose changes must have succeeded first. Removals run against the requirements' direction.
    """

    address: str
    type: str
    action: Action
    reasons: tuple[str, ...]
    instance: DesiredInstance
    after: tuple[str, ...] = ()

    @property
    def is_noop(self) -> bool:
        """Whether nothing is done."""
        return self.action is Action.NO_OP


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would do.

    Attributes:
        deployment: Name of the deployment.
        lineage: Of the state it was made from; empty if there was none.
        serial: Of the state it was made from.
        profile: Name of the profile.
        changes: By address, in an order in which they can be done one after the other.
        substitutions: What is not as in production.
    """

    deployment: str
    lineage: str
    serial: int
    profile: str
    changes: Mapping[str, Change] = field(default_factory=dict)
    substitutions: tuple[Substitution, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every change is a no-op."""
        return all(change.is_noop for change in self.changes.values())

    def counts(self) -> dict[Action, int]:
        """How many changes there are of each kind, kinds that do not occur left out."""
        counted = Counter(change.action for change in self.changes.values())
        return {action: counted[action] for action in Action if counted[action]}
