"""Runs as text for a person: the list of them, and one that is read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cli.views.progress import LineWriter, with_time
from orchestrator.cli.views.table import table
from orchestrator.cli.views.words import duration
from orchestrator.services.runs import UNRECORDED, RunSummary

_COUNTED = {"done": "done", "failed": "failed", "skipped": "left undone"}
_SECONDS = len("2025-11-21T03:05:01")


def render_runs(deployment: str, runs: Sequence[RunSummary]) -> str:
    """Every run on a line, the last one last."""
    if not runs:
        return f"{deployment}: no run is kept."
    rows = [
        (
            run.run,
            _moment(run.started),
            "" if run.seconds is None else duration(run.seconds),
            run.outcome,
            "" if run.outcome == UNRECORDED else _counts(run.counts),
            run.command,
        )
        for run in runs
    ]
    lines = [deployment, table(("run", "started (UTC)", "took", "outcome", "changes", "command"), rows, wrap=48)]
    if any(run.outcome == UNRECORDED for run in runs):
        lines.append(f"{UNRECORDED}: made by a version of the program that kept no events; its logs are in its folder.")
    return "\n".join(lines)


def render_run(run: RunSummary) -> str:
    """What a run was, above its events."""
    lines = [f"Run {run.run}, started {_moment(run.started)} UTC"]
    if run.command:
        lines.append(f"  {run.command} (version {run.program_version})")
    if run.outcome == UNRECORDED:
        lines.append(f"  It was made by a version of the program that kept no events. Its logs: {run.folder}")
    return "\n".join(lines)


class EventTeller:
    """Tells the events of a run one after the other, as they were told while it went on, and how it ended."""

    def __init__(self) -> None:
        self.told_the_end = False
        self._lines = LineWriter()
        self._failures: list[str] = []

    def tell(self, event: Mapping[str, Any]) -> str:
        """One event as text; nothing if it says nothing to a person."""
        if event["event"] == "run-finished":
            self.told_the_end = True
            return _ending(event)
        line = self._lines.line(event)
        if event["event"] == "change-failed":
            self._failures += _failure(event)
        return with_time(float(event.get("elapsed") or 0), line) if line else ""

    def untold(self) -> str:
        """The causes of failures in a run that came to no end, which would have told them."""
        return "" if self.told_the_end else "\n".join(self._failures)


def _failure(event: Mapping[str, Any]) -> list[str]:
    lines = [f"✗ {event['address']}: {event['error'].get('summary', '')}"]
    lines += [f"    {line}" for line in str(event["error"].get("detail", "")).splitlines()]
    log = event.get("log") or {}
    return lines + [f"    │ {line}" for line in log.get("lines", ())]


def _ending(event: Mapping[str, Any]) -> str:
    counts = _counts(event.get("counts") or {})
    text = f"{str(event['outcome']).capitalize()} after {duration(float(event['seconds']))}, changes: {counts}."
    error = event.get("error")
    if not error:
        return text
    lines = [text, f"Error: {error['summary']}", *(f"  {line}" for line in error["detail"].splitlines())]
    return "\n".join([*lines, f"→ {error['resolution']}"] if error["resolution"] else lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]} {told}" for name, told in _COUNTED.items() if counts.get(name)) or "none"


def _moment(stamp: str) -> str:
    return stamp[:_SECONDS].replace("T", " ")
