"""Results as JSON for programs; the forms are documented in ``docs/json-output.md``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.diagnostics import Diagnostic

if TYPE_CHECKING:  # what `deploy validate` must not wait for
    from orchestrator.manifest.model import Manifest
    from orchestrator.planning.plan import Plan
    from orchestrator.services.runs import RunSummary
    from orchestrator.services.status import InstanceStatus
    from orchestrator.state.model import State


_INVISIBLE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _dump(content: Any) -> str:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def render_diagnostics(diagnostics: Sequence[Diagnostic]) -> str:
    """Findings as ``{"valid": bool, "diagnostics": [...]}``."""
    return _dump(
        {
            "format_version": 1,
            "valid": not any(d.is_error for d in diagnostics),
            "diagnostics": [dataclasses.asdict(d) for d in diagnostics],
        }
    )


def render_plan(plan: Plan, cost: Mapping[str, Any], findings: Sequence[Diagnostic]) -> str:
    """The plan's documented form, with what it costs (see ``cost_to_json``) and what an apply would be told first."""
    from orchestrator.planning.plan_file import plan_to_json  # noqa: PLC0415 - only plans need it

    return _dump(plan_to_json(plan) | {"cost": cost, "findings": [dataclasses.asdict(d) for d in findings]})


def render_manifest(manifest: Manifest) -> str:
    """The manifest's JSON form."""
    from orchestrator.manifest.render import render_manifest as render  # noqa: PLC0415 - only manifests need it

    return render(manifest, "json")


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest's JSON form as a value."""
    value: dict[str, Any] = json.loads(render_manifest(manifest))
    return value


def render_event(event: Mapping[str, Any]) -> str:
    """One event of a run as a line."""
    return json.dumps(event)


def render_runs(deployment: str, runs: Sequence[RunSummary]) -> str:
    """Every run with its outcome."""
    return _dump(
        {
            "format_version": 1,
            "deployment": deployment,
            "runs": [
                {
                    "run": run.run,
                    "command": run.command,
                    "outcome": run.outcome,
                    "started": run.started,
                    "seconds": run.seconds,
                    "plan": dict(run.plan),
                    "counts": dict(run.counts),
                    "error": run.error or None,
                    "program_version": run.program_version,
                }
                for run in runs
            ],
        }
    )


def render_versions(state: State) -> str:
    """Versions that were applied completely, the newest first."""
    return _dump(
        {
            "format_version": 1,
            "deployment": state.deployment,
            "versions": [
                {
                    "number": version.number,
                    "time": version.time,
                    "run": version.run,
                    "present": state.is_at(version),
                    "profile": version.profile,
                    "profile_options": dict(version.profile_options),
                    "application_root": version.application_root,
                    "images": dict(version.images),
                    "template": version.template,
                }
                for version in reversed(state.versions)
            ],
        }
    )


def render_status(name: str, statuses: Sequence[InstanceStatus]) -> str:
    """Every instance with its recorded and its observed state."""
    return _dump(
        {
            "format_version": 1,
            "deployment": name,
            "well": all(s.is_well for s in statuses),
            "instances": [
                {
                    "address": s.record.address,
                    "type": s.record.type,
                    "generation": s.record.generation,
                    "lifecycle": s.record.lifecycle.value,
                    "pending": s.record.pending.action if s.record.pending else None,
                    "observed": s.observed.presence.value,
                    "detail": s.observed.detail,
                    "drift": [dataclasses.asdict(difference) for difference in s.drift],
                    "attributes": dict(s.record.attributes),
                }
                for s in statuses
            ],
        }
    )
