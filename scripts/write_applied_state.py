"""Writes the state that an apply of a production file leaves, without applying it: for `make bench`.

Usage: write_applied_state.py FILE; the state goes where DEPLOY_HOME says.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.services.load import load_topology
from orchestrator.services.prepare import Target, want
from orchestrator.state.folders import state_folder
from orchestrator.state.journal import InstancePut, JournalEntry
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Lifecycle
from orchestrator.state.session import DeploymentSession

TIME = "2026-01-01T00:00:00Z"


def main(file: Path) -> None:
    """Write a started record for every wanted instance, in one go."""
    target = Target(load_topology(file), "production", {})
    store = LocalStateStore(state_folder(target.deployment))
    session = DeploymentSession(store, target.deployment)
    session.set_template(target.loaded.template_text, "production", {}, str(target.loaded.application_root))
    records = [
        InstanceRecord(
            address=address,
            node=instance.node,
            type=instance.type,
            provider=instance.provider,
            lifecycle=Lifecycle.STARTED,
            inputs=instance.inputs,
            dependencies=instance.dependencies,
        )
        for address, instance in want(target)[0].instances.items()
    ]
    state = session.state
    store.append(
        [
            JournalEntry(serial, state.lineage, TIME, InstancePut(record))
            for serial, record in enumerate(records, start=state.serial + 1)
        ]
    )
    DeploymentSession(store, target.deployment).snapshot()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
