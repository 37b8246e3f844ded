"""The events of a run as JSON values: what `--json` prints, and what is kept in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, assert_never

from orchestrator import __version__
from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
    Event,
)
from orchestrator.errors import InvalidInputError
from orchestrator.state.clock import render_time, utc_now

if TYPE_CHECKING:
    from orchestrator.errors import DeployError
    from orchestrator.planning.plan import Plan

FORMAT_VERSION = 1
"""Version of the events' form; a key may be added within a version."""

COUNTED = {"change-finished": "done", "change-failed": "failed", "change-skipped": "skipped"}
"""The events with which a change is over, and what they are counted as."""


def event_to_json(event: Event) -> dict[str, Any]:
    """An event of the engine; the change by its address, type and action."""
    change = event.change
    about = {"address": change.address, "type": change.type, "action": change.action.value}
    match event:
        case ChangeStarted():
            return {"event": "change-started", **about}
        case ChangeProgress(_, message):
            return {"event": "change-progress", **about, "message": message}
        case ChangeRetrying(_, error, attempt, seconds, of):
            wait = {"attempt": attempt, "of": of, "wait_seconds": round(seconds, 3)}
            return {"event": "change-retrying", **about, **wait, "error": error_to_json(error)}
        case ChangeFinished(_, seconds, degraded):
            return {"event": "change-finished", **about, "seconds": round(seconds, 3), "without": list(degraded)}
        case ChangeFailed(_, error, seconds):
            return {"event": "change-failed", **about, "seconds": round(seconds, 3), "error": error_to_json(error)}
        case ChangeSkipped(_, because):
            return {"event": "change-skipped", **about, "because": because}
        case _:
            assert_never(event)


def started_event(run: str | None, deployment: str, command: str) -> dict[str, Any]:
    """That a run began; ``run`` is its identifier."""
    about = {"run": run, "deployment": deployment, "command": command, "program_version": __version__}
    return {"event": "run-started", "format_version": FORMAT_VERSION, **about}


def finished_event(
    outcome: str, seconds: float, counts: Mapping[str, int], error: Mapping[str, str] | None, manifest: Any = None
) -> dict[str, Any]:
    """How a run ended."""
    ended = {"outcome": outcome, "seconds": round(seconds, 3), "counts": dict(counts), "error": error}
    return {"event": "run-finished", **ended, "manifest": manifest}


def events_of_no_run(deployment: str, command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """First and last event where there was nothing to work on, so that no run was begun."""
    stamp = {"time": render_time(utc_now()), "elapsed": 0.0}
    started = stamp | started_event(None, deployment, command)
    return started, stamp | finished_event("succeeded", 0.0, dict.fromkeys(COUNTED.values(), 0), None)


def error_to_json(error: DeployError) -> dict[str, str]:
    """What a person is told of an error; of findings those that are errors, each on a line of its own."""
    detail = error.detail
    if isinstance(error, InvalidInputError):
        wrong = [finding for finding in error.diagnostics if finding.is_error]
        detail = "\n".join(f"{f.address}: {f.summary} {f.detail}".removeprefix(": ").strip() for f in wrong)
    return {"summary": error.summary, "detail": detail, "resolution": error.resolution}


def plan_to_event(plan: Plan) -> dict[str, Any]:
    """What is going to be done: the changes that are none are counted only."""
    return {
        "event": "planned",
        "profile": plan.profile,
        "summary": {action.value: number for action, number in plan.counts().items()},
        "changes": [
            {
                "address": change.address,
                "type": change.type,
                "action": change.action.value,
                "reasons": list(change.reasons),
                "after": list(change.after),
                "downtime": {"kind": change.downtime.kind.value, "text": change.downtime.text},
            }
            for change in plan.changes.values()
            if not change.is_noop
        ],
    }
