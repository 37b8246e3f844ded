"""What a look at the real thing found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.topology.model import Value


class Presence(StrEnum):
    """Whether the real thing is there."""

    PRESENT = "present"
    DEGRADED = "degraded"
    """There, but not as it should be (stopped, unreachable, not ready): an update mends it."""

    MISSING = "missing"
    """Gone: a create makes it anew."""

    UNKNOWN = "unknown"
    """Could not be asked (no answer in time, or nothing to ask): taken to be as the state says."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is found otherwise than it was made; ``found`` is ``None`` if it is not there at all.

    Attributes:
        name: What it is called where it was set: a property (``memory_mb``), an attribute (``host``), ``state``.
        recorded: What it was set to, or what was found when it was made.
        found: What is found now.
    """

    name: str
    recorded: Value
    found: Value


@dataclass(frozen=True, slots=True)
class Observation:
    """What a look found, with a short reason in words, attributes that were seen, and what differs one by one."""

    presence: Presence
    detail: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
