"""What an instance has to do without, as its record says."""

from __future__ import annotations

from orchestrator.executors.base import DEGRADED
from orchestrator.state.model import InstanceRecord


def degraded_parts(record: InstanceRecord | None) -> tuple[str, ...]:
    """Addresses that could not be reached when the instance was last worked on; none if it is whole."""
    parts = record.attributes.get(DEGRADED) if record else None
    return tuple(str(part) for part in parts) if isinstance(parts, list) else ()
