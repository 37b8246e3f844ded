"""What no state knows at clouds, for a person and for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.cli.views.table import table
from orchestrator.cli.views.words import one_line
from orchestrator.providers.base import Resource
from orchestrator.services.sweep import Group, Left, Sweep

FORMAT_VERSION = 1
"""Version of the JSON form; see ``docs/json-output.md``."""

_HEADER = ("kind", "id", "name", "for")


def render(found: Sweep, now: datetime | None = None) -> str:
    """A list for each deployment and place, then what could not be asked."""
    parts = []
    for group in found.groups:
        rows = [[one_line(cell) for cell in _row(owned.resource)] for owned in group.things]
        parts.append(f"{one_line(_title(group, now or datetime.now(UTC)))}\n{table(_HEADER, rows)}")
    parts += [f"{name} could not be asked: {one_line(reason)}" for name, reason in found.failed.items()]
    parts += [
        f"Nothing called {name} is listed, since its state cannot be read: {one_line(reason)}"
        for name, reason in found.known.unreadable.items()
    ]
    asked = [name for name in found.providers if name not in found.failed]
    if not found.groups and asked:
        parts.append(f"Nothing that no state here knows ({', '.join(asked)}).")
    return "\n\n".join(parts)


def render_left(found: Sweep, left: Sequence[Left]) -> str:
    """What was removed and what is left."""
    count = sum(len(group.things) for group in found.groups)
    if not left:
        return f"\n{count} removed; nothing is left."
    lines = [f"  {e.provider}: {e.owned.resource.kind} {e.owned.resource.id}: {one_line(e.reason)}" for e in left]
    return "\n".join([f"\n{max(0, count - len(left))} removed; left are:", *lines])


def render_json(found: Sweep, left: Sequence[Left] | None) -> str:
    """The documented form."""
    content = {
        "format_version": FORMAT_VERSION,
        "providers": [{"provider": name, "problem": found.failed.get(name)} for name in found.providers],
        "unreadable": [{"deployment": n, "problem": reason} for n, reason in found.known.unreadable.items()],
        "groups": [
            {
                "provider": group.provider,
                "deployment": group.deployment.name,
                "lineage": group.deployment.lineage,
                "created": group.created or None,
                "resources": [_resource(owned.resource) for owned in group.things],
            }
            for group in found.groups
        ],
        "left": None
        if left is None
        else [{"provider": e.provider, **_resource(e.owned.resource), "reason": e.reason} for e in left],
    }
    return json.dumps(content, indent=2)


def _row(resource: Resource) -> tuple[str, ...]:
    return resource.kind, resource.id, resource.name, resource.address


def _resource(resource: Resource) -> dict[str, str | None]:
    told = {"kind": resource.kind, "id": resource.id, "name": resource.name}
    return {**told, "address": resource.address or None, "created": resource.created or None}


def _title(group: Group, now: datetime) -> str:
    age = _age(group.created, now)
    return (
        f"{group.provider}: {group.deployment.name or '(no name)'}, lineage {group.deployment.lineage or 'not known'}"
        f"{f', {age} old' if age else ''}"
    )


def _age(created: str, now: datetime) -> str:
    try:
        since = datetime.fromisoformat(created)
    except ValueError:
        return ""
    minutes = int((now - (since if since.tzinfo else since.replace(tzinfo=UTC))).total_seconds() // 60)
    days, hours = minutes // 1440, minutes // 60
    count, word = (days, "day") if days > 1 else (hours, "hour") if hours > 1 else (max(0, minutes), "minute")
    return f"{count} {word}{'s' if count != 1 else ''}"
