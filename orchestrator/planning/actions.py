"""What can be done to a node instance."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """The kinds of change; a no-op stays in the plan so that a reader sees that it was considered."""

    NO_OP = "no-op"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    FORGET = "forget"
    """Delete from the state only: it goes with the machine it is hosted on, which is deleted by the same plan."""

    READ = "read"
    """Only for observing; never in a plan."""
