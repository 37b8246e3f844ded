"""The events of a run as JSON values: what `--json` prints, and what is kept in the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
    Event,
)

if TYPE_CHECKING:
    from orchestrator.errors import DeployError
    from orchestrator.planning.plan import Plan

FORMAT_VERSION = 1
"""Version of the events' form; a key may be added within a version."""


def event_to_json(event: Event) -> dict[str, Any]:
    """An event of the engine; the change by its address, type and action."""
    change = event.change
    about = {"address": change.address, "type": change.type, "action": change.action.value}
    match event:
        case ChangeStarted():
            return {"event": "change-started", **about}
        case ChangeProgress(_, message):
            return {"event": "change-progress", **about, "message": message}
        case ChangeRetrying(_, error, attempt, seconds):
            wait = {"attempt": attempt, "wait_seconds": round(seconds, 3)}
            return {"event": "change-retrying", **about, **wait, "error": error_to_json(error)}
        case ChangeFinished(_, seconds):
            return {"event": "change-finished", **about, "seconds": round(seconds, 3)}
        case ChangeFailed(_, error, seconds):
            return {"event": "change-failed", **about, "seconds": round(seconds, 3), "error": error_to_json(error)}
        case ChangeSkipped(_, because):
            return {"event": "change-skipped", **about, "because": because}
        case _:
            assert_never(event)


def error_to_json(error: DeployError) -> dict[str, str]:
    """What a person is told of an error."""
    return {"summary": error.summary, "detail": error.detail, "resolution": error.resolution}


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
            }
            for change in plan.changes.values()
            if not change.is_noop
        ],
    }
