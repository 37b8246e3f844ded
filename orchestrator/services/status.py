"""Every node instance as the state knows it and as it is found now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.planning.drift import drift_of
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.prepare import look
from orchestrator.state.addresses import address_order
from orchestrator.state.model import InstanceRecord


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One line of ``deploy status``."""

    record: InstanceRecord
    observed: Observation

    @property
    def is_well(self) -> bool:
        """Whether it is started and nothing else was found."""
        lifecycle_ok = self.record.lifecycle.value == "started" and self.record.pending is None
        return lifecycle_ok and self.observed.presence in (Presence.PRESENT, Presence.UNKNOWN)

    @property
    def drift(self) -> tuple[Difference, ...]:
        """What is found otherwise than it was made, property by property."""
        return drift_of(self.observed)


def read_status(opened: OpenDeployment) -> tuple[InstanceStatus, ...]:
    """Look at everything now."""
    state = opened.state
    if state is None:
        return ()
    observed = look(opened, None, Path(state.application_root))
    return tuple(
        InstanceStatus(state.instances[address], observed[address]) for address in sorted(observed, key=address_order)
    )
