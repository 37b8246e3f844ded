"""Versions, rollbacks, drift and what a destroy left behind, as text for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.views.table import table
from orchestrator.cli.views.words import one_line
from orchestrator.planning.drift import parts
from orchestrator.planning.observation import Presence

if TYPE_CHECKING:
    from orchestrator.services.rollback import Rollback
    from orchestrator.services.status import InstanceStatus
    from orchestrator.state.model import State


def render_versions(state: State) -> str:
    """What a rollback can return to, the newest first, and whether it is what was applied last."""
    if not state.versions:
        return f"{state.deployment} has no version yet: no apply of it has done everything."
    rows = [
        (
            str(version.number),
            version.time[:19].replace("T", " ") + " UTC",
            version.run,
            " ".join([version.profile, *(f"{k}={v}" for k, v in version.profile_options.items())]),
            "present" if state.is_at(version) else "",
        )
        for version in reversed(state.versions)
    ]
    text = f"{state.deployment}\n" + table(("version", "applied", "run", "profile", ""), rows)
    if not any(state.is_at(version) for version in state.versions):
        text += "\nWhat was applied last is none of these: that apply did not do everything."
    return text


def render_rollback(rollback: Rollback) -> str:
    """Which version it goes back to, and where its images come from."""
    version = rollback.version
    lines = [f"Back to version {version.number}, applied {version.time[:19].replace('T', ' ')} UTC (run {version.run})"]
    for image in rollback.images:
        detail = f" ({image.detail})" if image.detail else ""
        lines.append(f"  image {image.address} {image.digest[:19]}…: {image.source.value}{detail}")
    return "\n".join(lines) + "\n"


def render_drift(name: str, statuses: Sequence[InstanceStatus]) -> str:
    """What differs between what was made and what is found, one line a property."""
    rows = [
        (status.record.address, part, _value(recorded), _value(found))
        for status in statuses
        for difference in status.drift
        for part, recorded, found in parts(difference)
    ]
    unasked = [s.record.address for s in statuses if s.observed.presence is Presence.UNKNOWN]
    lines = [name]
    if rows:
        lines.append(table(("instance", "property", "recorded", "found"), rows, wrap=48))
        count = len({row[0] for row in rows})
        lines.append(
            f"{count} of {len(statuses)} differ: `deploy apply` makes them as they were, `deploy apply --refresh-only` "
            "takes what is found for what is wanted."
        )
    elif not statuses or len(unasked) < len(statuses):
        lines.append("No drift: everything that could be asked is as it was made.")
    if unasked:
        lines.append(f"{len(unasked)} could not be asked: {', '.join(unasked)}.")
        details = dict.fromkeys(one_line(s.observed.detail) for s in statuses if s.record.address in unasked)
        lines += [f"  {detail}" for detail in details if detail]
    return "\n".join(lines)


def _value(value: object) -> str:
    return "(not there)" if value is None else str(value).replace("\n", "⏎")
