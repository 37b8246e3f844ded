"""What an instance has to do without, as its record says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.executors.base import DEGRADED, DEGRADED_BECAUSE
from orchestrator.state.model import InstanceRecord


def degraded_parts(record: InstanceRecord | None) -> tuple[str, ...]:
    """Addresses that could not be reached when the instance was last worked on; none if it is whole."""
    parts = record.attributes.get(DEGRADED) if record else None
    return tuple(str(part) for part in parts) if isinstance(parts, list) else ()


def degraded_causes(record: InstanceRecord | None) -> dict[str, str]:
    """Why, by address of what could not be reached, where more is known than that it does not answer."""
    causes = record.attributes.get(DEGRADED_BECAUSE) if record else None
    return {address: str(cause) for address, cause in causes.items()} if isinstance(causes, dict) else {}


def with_causes(parts: Sequence[str], causes: Mapping[str, str]) -> str:
    """The addresses in a row, each with its cause where one is known."""
    return ", ".join(f"{part} ({causes[part]})" if part in causes else part for part in parts)
