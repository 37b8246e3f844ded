"""A plan saved to a file, with all that apply needs; it is refused when the state has moved on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import DeployError, StalePlanError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.downtime import Downtime, DowntimeKind
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.substitution import Substitution
from orchestrator.state.model import State

FORMAT_VERSION = 2
"""Version of the plan's JSON form, saved or printed with ``--json``. Version 2 added moves, downtime and targets."""

_INSTANCE = tuple(f.name for f in dataclasses.fields(DesiredInstance) if f.name != "operations")


class PlanFileError(DeployError):
    """The file is no plan, or one of another version."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan and what it was made from."""

    plan: Plan
    template: str
    profile_options: Mapping[str, str] = field(default_factory=dict)
    application_root: str = ""


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The documented form: see ``docs/json-output.md``."""
    return {
        "format_version": FORMAT_VERSION,
        "deployment": plan.deployment,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "profile": plan.profile,
        "targets": list(plan.targets),
        "refresh_only": plan.refresh_only,
        "summary": {action.value: count for action, count in plan.counts().items()},
        "changes": [_change_to_json(change) for change in plan.changes.values()],
        "substitutions": [dataclasses.asdict(s) for s in plan.substitutions],
    }


def _change_to_json(change: Change) -> dict[str, Any]:
    seen = change.observed
    return {
        "address": change.address,
        "type": change.type,
        "action": change.action.value,
        "title": change.title,
        "reasons": list(change.reasons),
        "after": list(change.after),
        "downtime": {"kind": change.downtime.kind.value, "text": change.downtime.text},
        "former": change.former,
        "observed": None if seen is None else dataclasses.asdict(seen),
        "instance": _instance_to_json(change.instance),
    }


def _instance_to_json(instance: DesiredInstance) -> dict[str, Any]:
    """The fields as they are: a copy of every value, as ``dataclasses.asdict`` makes it, takes longer than planning."""
    return {name: getattr(instance, name) for name in _INSTANCE} | {
        "operations": {
            name: {"name": o.name, "artifact_type": o.artifact_type, "file": o.file, "inputs": o.inputs}
            for name, o in instance.operations.items()
        }
    }


def render_saved_plan(saved: SavedPlan) -> str:
    """The file's text."""
    content = plan_to_json(saved.plan) | {
        "kind": "continuum-deploy plan",
        "template": saved.template,
        "profile_options": dict(saved.profile_options),
        "application_root": saved.application_root,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def is_saved_plan(path: Path) -> bool:
    """Whether the file is meant as a saved plan: JSON that says so."""
    with path.open("rb") as file:
        return file.read(1) == b"{" and b'"continuum-deploy plan"' in path.read_bytes()


def load_saved_plan(path: Path) -> SavedPlan:
    """Read a saved plan.

    Raises:
        PlanFileError: If it is damaged or of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise PlanFileError(
                "The plan file has another version.",
                detail=f"{path} has format version {content['format_version']}; this program reads {FORMAT_VERSION}.",
                resolution="Make the plan again with `deploy plan --out`.",
            )
        plan = Plan(
            deployment=content["deployment"],
            lineage=content["lineage"],
            serial=content["serial"],
            profile=content["profile"],
            changes={c["address"]: _change_from_json(c) for c in content["changes"]},
            substitutions=tuple(Substitution(**s) for s in content["substitutions"]),
            targets=tuple(content["targets"]),
            refresh_only=content["refresh_only"] is True,
        )
        return SavedPlan(plan, content["template"], content["profile_options"], content["application_root"])
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise PlanFileError(
            "The plan file is damaged.",
            detail=f"{path} cannot be read as a saved plan: {cause!r}.",
            resolution="Make the plan again with `deploy plan --out`.",
        ) from cause


def _change_from_json(content: Mapping[str, Any]) -> Change:
    raw = dict(content["instance"])
    raw["requirements"] = {name: tuple(targets) for name, targets in raw["requirements"].items()}
    raw["operations"] = {name: Operation(**operation) for name, operation in raw["operations"].items()}
    seen = content["observed"]
    return Change(
        address=content["address"],
        type=content["type"],
        action=Action(content["action"]),
        reasons=tuple(content["reasons"]),
        instance=DesiredInstance(**raw),
        after=tuple(content["after"]),
        downtime=Downtime(DowntimeKind(content["downtime"]["kind"]), content["downtime"]["text"]),
        title=content["title"],
        former=content["former"],
        observed=None if seen is None else _observation_from_json(seen),
    )


def _observation_from_json(content: Mapping[str, Any]) -> Observation:
    return Observation(
        Presence(content["presence"]),
        content["detail"],
        content["attributes"],
        tuple(Difference(**difference) for difference in content["differences"]),
    )


def check_not_stale(plan: Plan, state: State | None) -> None:
    """Refuse a plan that was not made from ``state``.

    Raises:
        StalePlanError: If lineage or serial differ.
    """
    lineage, serial = (state.lineage, state.serial) if state else ("", 0)
    if (plan.lineage, plan.serial) != (lineage, serial):
        raise StalePlanError(
            "The plan is stale.",
            detail=f"It was made from serial {plan.serial} of {plan.deployment}; the state is at serial {serial} now"
            + ("." if plan.lineage == lineage else " and of another lineage: the deployment was made anew since then."),
            resolution="Make the plan again and look at it before applying.",
        )
