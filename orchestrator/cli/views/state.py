"""States for people and for programs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from orchestrator.cli.views.table import table
from orchestrator.services.migrate import Migrated
from orchestrator.services.state import FORMAT_VERSION, KnownDeployment
from orchestrator.state.addresses import address_order
from orchestrator.state.journal import instance_to_json
from orchestrator.state.lock import LockHolder
from orchestrator.state.model import InstanceRecord, State


def render_deployments(place: str, known: tuple[KnownDeployment, ...]) -> str:
    """Every deployment in a place."""
    rows = [
        (
            entry.name,
            str(entry.state.serial) if entry.state else "",
            str(len(entry.state.instances)) if entry.state else "",
            _who(entry.holder) if entry.holder else "",
            entry.problem,
        )
        for entry in known
    ]
    if not rows:
        return f"{place}: no deployment"
    return f"{place}\n" + table(("deployment", "serial", "instances", "in use by", "problem"), rows, wrap=60)


def deployments_to_json(place: str, known: tuple[KnownDeployment, ...]) -> str:
    """The same for programs."""
    return _dump(
        {
            "format_version": FORMAT_VERSION,
            "place": place,
            "deployments": [
                {
                    "deployment": entry.name,
                    "lineage": entry.state.lineage if entry.state else None,
                    "serial": entry.state.serial if entry.state else None,
                    "instances": len(entry.state.instances) if entry.state else None,
                    "lock": holder_to_json(entry.holder),
                    "problem": entry.problem or None,
                }
                for entry in known
            ],
        }
    )


def render_instances(state: State) -> str:
    """Every record of a state."""
    rows = [
        (
            record.address,
            record.type.rpartition(".")[2],
            record.lifecycle.value + (f" ({record.pending.action} unfinished)" if record.pending else ""),
            str(record.generation),
            record.provider,
        )
        for _, record in sorted(state.instances.items(), key=lambda item: address_order(item[0]))
    ]
    head = f"{state.deployment}, serial {state.serial}"
    if not rows:
        return f"{head}: nothing"
    return f"{head}\n" + table(("instance", "type", "state", "generation", "provider"), rows)


def instances_to_json(state: State) -> str:
    """The same for programs."""
    fields = ("address", "node", "type", "provider", "generation")
    return _dump(
        {
            **_head(state),
            "instances": [
                {
                    **{name: getattr(record, name) for name in fields},
                    "lifecycle": record.lifecycle.value,
                    "pending": record.pending.action if record.pending else None,
                }
                for record in state.instances.values()
            ],
        }
    )


def render_instance(record: InstanceRecord) -> str:
    """Everything that is known of an instance."""
    pending = f" ({record.pending.action} unfinished, run {record.pending.run})" if record.pending else ""
    lines = [
        record.address,
        f"  type          {record.type}",
        f"  node          {record.node}",
        f"  state         {record.lifecycle.value}{pending}",
        f"  generation    {record.generation}",
        f"  provider      {record.provider or '-'}",
        f"  depends on    {', '.join(record.dependencies) or '-'}",
    ]
    for title, values in (("attributes", record.attributes), ("inputs", record.inputs)):
        lines.append(f"  {title}")
        lines += [f"    {key} = {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(values.items())]
    return "\n".join(lines)


def instance_to_text(state: State, record: InstanceRecord) -> str:
    """The same for programs."""
    return _dump({**_head(state), "instance": instance_to_json(record)})


def render_state(document: dict[str, Any]) -> str:
    """A whole state, as ``push`` takes it."""
    return _dump(document)


def migrated_to_json(migrated: Migrated) -> str:
    """What a migration did."""
    return _dump(
        {
            "format_version": FORMAT_VERSION,
            "from": migrated.source,
            "to": migrated.target,
            "deployments": [
                {"deployment": s.deployment, "lineage": s.lineage, "serial": s.serial, "instances": len(s.instances)}
                for s in migrated.states
            ],
        }
    )


def holder_to_json(holder: LockHolder | None) -> dict[str, Any] | None:
    """Who holds a lock."""
    if holder is None:
        return None
    shown = ("pid", "user", "host", "command", "since", "run")
    return {name: value for name, value in dataclasses.asdict(holder).items() if name in shown}


def _who(holder: LockHolder) -> str:
    return f"{holder.user} on {holder.host} since {holder.since}"


def _head(state: State) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "deployment": state.deployment,
        "lineage": state.lineage,
        "serial": state.serial,
    }


def _dump(value: object) -> str:
    return json.dumps(value, indent=2, default=dict)
