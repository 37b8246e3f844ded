"""Secrets for a person and for a program: names, kinds, users; never a value."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.services.secrets import Rotated, SecretUse
from orchestrator.state.secrets import SecretKind

FORMAT_VERSION = 1
"""Version of the JSON form; see ``docs/json-output.md``."""


def render_secrets(found: Sequence[SecretUse]) -> str:
    """A table."""
    if not found:
        return "There are no secrets."
    rows = [("NAME", "KIND", "VERSION", "CHANGED", "USED BY")]
    rows += [
        (use.secret.name, _kind(use), str(use.secret.version), use.secret.changed or "not known", _users(use))
        for use in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )


def secrets_to_json(deployment: str, found: Sequence[SecretUse]) -> str:
    """The documented form."""
    content = {
        "format_version": FORMAT_VERSION,
        "deployment": deployment,
        "secrets": [
            {
                "name": use.secret.name,
                "kind": use.secret.kind.value,
                "reference": _reference(use),
                "version": use.secret.version,
                "changed": use.secret.changed or None,
                "used_by": [{"address": a, "version": v} for a, v in use.used_by.items()],
                "waiting": list(use.waiting),
            }
            for use in found
        ],
    }
    return json.dumps(content, indent=2)


def render_rotated(deployment: str, rotated: Rotated) -> str:
    """What was rotated, who takes it over when, and what was left alone."""
    lines = [
        f"{deployment}: {use.secret.name} has a new value (version {use.secret.version})." for use in rotated.rotated
    ]
    waiting = dict.fromkeys(address for use in rotated.rotated for address in use.waiting)
    if waiting:
        lines.append(f"The next apply brings it to {', '.join(waiting)}; until then they run with the one before.")
    lines += [f"{name} was left alone: {why}." for name, why in rotated.left.items()]
    return "\n".join(lines or ["There is nothing to rotate."])


def _kind(use: SecretUse) -> str:
    return _reference(use) or use.secret.kind.value


def _reference(use: SecretUse) -> str | None:
    return use.secret.value if use.secret.kind is SecretKind.REFERENCE else None


def _users(use: SecretUse) -> str:
    if not use.used_by:
        return "nobody yet"
    names = [f"{a} (still version {v})" if v != use.secret.version else a for a, v in use.used_by.items()]
    return ", ".join(names)
