"""A plan: every change with its reasons, as data; apply does what it says and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.downtime import NO_DOWNTIME, Downtime
from orchestrator.planning.observation import Observation
from orchestrator.planning.substitution import Substitution
from orchestrator.state.former import present_address

_UNASKED = "could not be asked: "


def reason_unasked(seen: Observation) -> str:
    """Why nothing is done to what did not answer: it is taken to be as recorded."""
    return f"{_UNASKED}{seen.detail or 'no answer'}"


CHANGING = (Action.CREATE, Action.UPDATE, Action.MOVE, Action.REPLACE, Action.DELETE, Action.FORGET)


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
        downtime: What stops while it is done.
        title: What a move is called, e.g. ``blurry-faces: layer 1 → layer 2``; empty for all else.
        former: Address under which a move keeps what it moves away from; empty for all else.
        observed: What a refresh takes over into the state; ``None`` for all else.
    """

    address: str
    type: str
    action: Action
    reasons: tuple[str, ...]
    instance: DesiredInstance
    after: tuple[str, ...] = ()
    downtime: Downtime = NO_DOWNTIME
    title: str = ""
    former: str = ""
    observed: Observation | None = None

    @property
    def is_noop(self) -> bool:
        """Whether nothing is done."""
        return self.action is Action.NO_OP


def _is_unasked(change: Change) -> bool:
    return bool(change.reasons) and change.reasons[0].startswith(_UNASKED)


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
        targets: What the plan was narrowed down to, as it was asked for; empty if it is about everything.
        refresh_only: Whether it takes over what was found and changes nothing else.
    """

    deployment: str
    lineage: str
    serial: int
    profile: str
    changes: Mapping[str, Change] = field(default_factory=dict)
    substitutions: tuple[Substitution, ...] = ()
    targets: tuple[str, ...] = ()
    refresh_only: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether every change is a no-op."""
        return all(change.is_noop for change in self.changes.values())

    @property
    def unasked(self) -> tuple[str, ...]:
        """Addresses of what is taken to be as recorded because it could not be asked."""
        return tuple(c.address for c in self.changes.values() if c.is_noop and _is_unasked(c))

    @property
    def is_partial(self) -> bool:
        """Whether it leaves something out, so that after it not all is as wanted."""
        return self.refresh_only or bool(self.targets)

    def is_part_of_move(self, change: Change) -> bool:
        """Whether it removes what another change of this plan moves away from."""
        moving = self.changes.get(present_address(change.address))
        return moving is not None and moving.former == change.address

    def counts(self) -> dict[Action, int]:
        """How many changes there are of each kind, kinds that do not occur left out; a move counts once."""
        counted = Counter(change.action for change in self.changes.values() if not self.is_part_of_move(change))
        return {action: counted[action] for action in Action if counted[action]}
