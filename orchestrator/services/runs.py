"""The runs of a deployment as their folders tell: which there were, how they ended, what happened, how long it took."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.planning.plan import Change
from orchestrator.services.run_events import COUNTED
from orchestrator.services.run_log import EVENTS_FILE, RUN_FILE
from orchestrator.state.clock import render_time
from orchestrator.state.folders import deploy_home, deployment_folder

KEPT_RUNS = 50
"""How many run folders a deployment keeps; the oldest go first, at the beginning of a run."""

MAKING = ("create", "update", "replace", "move")
"""Actions that run the operations that make something."""

RUNNING = "running"
CUT_OFF = "cut off"
UNRECORDED = "not recorded"

_RUNS = "runs"
_FOLLOW_INTERVAL = 0.2
_RUNS_FOR_ESTIMATES = 10


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, in short.

    Attributes:
        run: Its identifier.
        folder: Its folder.
        outcome: ``succeeded``, ``degraded``, ``failed``, ``interrupted`` or ``declined``; ``running`` while it goes on,
            ``cut off`` if its process went without an end, ``not recorded`` if an earlier version made it.
        started: When; from the identifier if there is no record.
        seconds: How long it took; up to its last event if it has no end, ``None`` if nothing is known of it.
        command: The command line; empty if not recorded.
        program_version: Of the program that ran; empty if not recorded.
        plan: Numbers of changes by action; empty if it did not come to a plan.
        counts: Numbers of changes ``done``, ``failed`` and ``skipped``.
        error: Summary of what it failed at; empty if it did not.
    """

    run: str
    folder: Path
    outcome: str
    started: str
    seconds: float | None = None
    command: str = ""
    program_version: str = ""
    plan: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


def find_deployment_with_runs(name: str | None) -> str:
    """The deployment that is meant, also one that was destroyed: ``name``, or the only one that has runs.

    Raises:
        UsageError: If there is no such deployment, none at all, or several to choose from.
    """
    home = deploy_home()
    known = sorted(path.parent.name for path in home.glob(f"[!.]*/{_RUNS}") if path.is_dir())
    if name is not None:
        if (deployment_folder(name) / _RUNS).is_dir():
            return name
        others = f" It holds runs of {', '.join(known)}." if known else ""
        raise UsageError(
            "There are no runs of this deployment.",
            detail=f"{home} holds no runs of {name}.{others}",
            resolution="Name one that was applied here, or set DEPLOY_HOME to the folder that holds it.",
        )
    if len(known) == 1:
        return known[0]
    raise UsageError(
        "There are several deployments." if known else "There is no deployment.",
        detail=f"{home} holds runs of {', '.join(known) or 'none'}, and none was named.",
        resolution="Name the one that is meant." if known else "Make one with `deploy apply FILE`.",
    )


def list_runs(deployment: str) -> tuple[RunSummary, ...]:
    """All runs whose folders are kept, the oldest first."""
    return tuple(read_run(folder) for folder in _run_folders(deployment_folder(deployment)))


def find_run(deployment: str, run: str | None) -> Path:
    """The folder of a run: the one named, by its identifier or the beginning of it; else the last one.

    Raises:
        UsageError: If there is none such, or several begin so.
    """
    folders = _run_folders(deployment_folder(deployment))
    exact = [folder for folder in folders if folder.name == run]
    found = exact or ([f for f in folders if f.name.startswith(run)] if run else folders[-1:])
    if len(found) != 1:
        what = f"{len(found)} runs begin" if found else "No run begins"
        raise UsageError(
            "There is no such run.",
            detail=f"{what} with {run!r} among the {len(folders)} runs kept of {deployment}.",
            resolution=f"`deploy runs {deployment}` lists them.",
        )
    return found[0]


def read_run(folder: Path) -> RunSummary:
    """What the folder tells of a run; one without a record is listed as such, never refused."""
    try:
        value = json.loads((folder / RUN_FILE).read_bytes())
        return _summary(folder, value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return RunSummary(folder.name, folder, UNRECORDED, _start_of(folder.name))


def _summary(folder: Path, value: Mapping[str, Any]) -> RunSummary:
    outcome, seconds, counts = value["outcome"], value.get("seconds"), value.get("counts")
    if outcome is None:
        outcome = RUNNING if is_running(folder) else CUT_OFF
        events = list(read_events(folder))
        seconds = events[-1].get("elapsed") if events else None
        seen = Counter(str(event.get("event")) for event in events)
        counts = {name: seen[kind] for kind, name in COUNTED.items()}
    return RunSummary(
        run=folder.name,
        folder=folder,
        outcome=str(outcome),
        started=str(value["started"]),
        seconds=seconds,
        command=str(value["command"]),
        program_version=str(value.get("program_version", "")),
        plan=dict(value.get("plan") or {}),
        counts=dict(counts or {}),
        error=str((value.get("error") or {}).get("summary", "")),
    )


def is_running(folder: Path) -> bool:
    """Whether the process that writes the run's events lives: it holds a lock on their file."""
    try:
        descriptor = os.open(folder / EVENTS_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def read_events(folder: Path, kind: str = "") -> Iterator[dict[str, Any]]:
    """The events of a run as JSON values; none if there is no record, and without a line that was cut off.

    Args:
        folder: The run's folder.
        kind: Only events of this kind; the others are not even parsed.
    """
    mark = kind.encode("ascii")
    try:
        with (folder / EVENTS_FILE).open("rb") as file:
            for line in file:
                if mark in line and (value := _parse(line)) is not None and kind in ("", value["event"]):
                    yield value
    except OSError:
        return


def follow_events(folder: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[dict[str, Any]]:
    """The events of a run as they come, until it has ended or its process is gone.

    Args:
        folder: The run's folder.
        sleep: Waits between two looks.
    """
    try:
        file = (folder / EVENTS_FILE).open("rb")
    except OSError:
        return
    with file:
        rest = b""
        while True:
            # Asked before reading: what a process wrote last is there once it is gone.
            alive = is_running(folder)
            *lines, rest = (rest + file.read()).split(b"\n")
            yield from (value for line in lines if (value := _parse(line)) is not None)
            if not alive:
                return
            sleep(_FOLLOW_INTERVAL)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "event" in value else None


def remove_old_runs(deployment: Path, needed: Collection[str], keep: int = KEPT_RUNS) -> None:
    """Remove the oldest run folders.

    Args:
        deployment: The deployment's folder.
        needed: Runs that stay, however old: the one at work, and those whose actions are unfinished.
        keep: How many stay.
    """
    folders = _run_folders(deployment)
    for folder in folders[: max(0, len(folders) - keep)]:
        if folder.name not in needed:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Durations:
    """How long changes took in earlier runs, in seconds: the median by address and action, and by type and action."""

    by_address: Mapping[tuple[str, str], float] = field(default_factory=dict)
    by_type: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def expected(self, address: str, node_type: str, action: str) -> float | None:
        """Seconds that a change will probably take; ``None`` if nothing like it was done yet.

        Whatever makes something runs the same operations, so that one kind of making tells of the others.
        """
        for alike in (action, *MAKING) if action in MAKING else (action,):
            for known, name in ((self.by_address, address), (self.by_type, node_type)):
                if (seconds := known.get((name, alike))) is not None:
                    return seconds
        return None

    def of(self, changes: Mapping[str, Change]) -> dict[str, float]:
        """Seconds that each change will probably take, by address, without those that are not known."""
        expected = {a: self.expected(a, c.type, c.action.value) for a, c in changes.items() if not c.is_noop}
        return {address: seconds for address, seconds in expected.items() if seconds is not None}


def read_durations(deployment: Path) -> Durations:
    """What the last recorded runs of a deployment tell.

    Args:
        deployment: The deployment's folder.
    """
    by_address: dict[tuple[str, str], list[float]] = defaultdict(list)
    by_type: dict[tuple[str, str], list[float]] = defaultdict(list)
    for folder in _run_folders(deployment)[-_RUNS_FOR_ESTIMATES:]:
        for event in read_events(folder, "change-finished"):
            seconds = event.get("seconds")
            if isinstance(seconds, int | float):
                by_address[str(event.get("address")), str(event.get("action"))].append(seconds)
                by_type[str(event.get("type")), str(event.get("action"))].append(seconds)
    return Durations({k: median(v) for k, v in by_address.items()}, {k: median(v) for k, v in by_type.items()})


def _run_folders(deployment: Path) -> list[Path]:
    try:
        return sorted(path for path in (deployment / _RUNS).iterdir() if path.is_dir())
    except OSError:
        return []


def _start_of(run: str) -> str:
    try:
        moment = datetime.strptime(run.partition("Z")[0] + "000", "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return render_time(moment)
