"""What can be done to a node instance."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """The kinds of change; a no-op stays in the plan so that a reader sees that it was considered."""

    NO_OP = "no-op"
    CREATE = "create"
    UPDATE = "update"
    MOVE = "move"
    """Make it on another host while the former one goes on working; the former one is removed by a change of its own,
    once everything that was wired to it has been rewired."""

    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"
    """Delete from the state only: it goes with the machine it is hosted on, which is deleted by the same plan, or
    something else has taken its place there."""

    REFRESH = "refresh"
    """Take over into the state what was found; nothing outside changes."""

    READ = "read"
    """Only for observing; never in a plan."""


REMOVALS = (Action.DELETE, Action.FORGET)
"""After these nothing is at the address any longer."""

RENEWALS = (Action.CREATE, Action.MOVE, Action.REPLACE)
"""After these another object is at the address."""
