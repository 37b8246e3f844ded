"""Runs one play in a child process, takes its events, and ends it when it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from orchestrator.executors import children
from orchestrator.executors.ansible_process import remove_leftovers
from orchestrator.executors.base import OperationRequest
from orchestrator.state.masking import mask, without_secrets
from orchestrator.topology.model import Value

_KILL_GRACE = 10.0
"""Seconds that a play gets to end after it was asked to."""

_REFUSALS = ("host key verification failed", "remote host identification has changed", "permission denied")
"""What a machine says, or SSH of it, that is there and is not ours to use: not the same as being away."""


@dataclass(slots=True)
class PlayOutcome:
    """What the events of one play said.

    Attributes:
        changed: How many tasks changed something.
        attributes: What the play reported.
        failures: The last failure of each host.
        lines: The last lines that are no events.
        status: How it ended, in ansible-runner's words.
        plays: How many plays of the playbook were begun.
        task: The task that was begun last.
        busy: Hosts that have not ended that task.
        overdue: Why it was ended before its time, as a clause; empty if it was not.
    """

    changed: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    status: str = ""
    plays: int = 0
    task: str = ""
    busy: dict[str, None] = field(default_factory=dict)
    overdue: str = ""

    def take(self, event: dict[str, Any]) -> str:
        """Note an event; returns a line of progress, or nothing."""
        kind = event.get("kind")
        if kind == "task":
            self.task, self.busy = str(event["task"]), {}
            return self.task
        if kind == "begun":
            self.busy[str(event["host"])] = None
        elif kind in {"ended", "told"}:
            self.busy.pop(str(event["host"]), None)
            return str(event.get("text", ""))
        elif kind in {"failed", "unreachable"}:
            self._fail(str(event["host"]), event)
        elif kind == "play":
            self.plays += 1
        else:
            self._take_rest(event)
        return ""

    def _fail(self, host: str, event: dict[str, Any]) -> None:
        """A rescue section explains what failed before it: the last word of a host is the one to show.

        One that was waited for in vain, and does not answer a rescue section either, is away because of that.
        """
        earlier = self.failures.get(host, {}).get("cause")
        self.failures[host] = {**event, "cause": earlier} if earlier and event["kind"] == "unreachable" else event
        self.busy.pop(host, None)

    def _take_rest(self, event: dict[str, Any]) -> None:
        kind = event.get("kind")
        if kind == "stats":
            self.changed, self.attributes = event["changed"], event["attributes"]
        elif kind == "line":
            self.note_line(str(event["text"]))
        elif kind == "end":
            self.status = str(event["status"])

    def note_line(self, text: str) -> None:
        """Keep a line that is no event."""
        self.lines = [*self.lines[-19:], text]

    @property
    def where(self) -> str:
        """The task that it is at, and on which hosts, as a clause."""
        if not self.task:
            return "before its first task"
        hosts = f" on {', '.join(self.busy)}" if self.busy else ""
        return f"at the task {self.task!r}{hosts}"

    @property
    def away(self) -> tuple[str, ...]:
        """Hosts that could not be reached, if nothing else went wrong anywhere; else none."""
        if self.overdue or self.status not in {"failed", "successful"}:
            return ()
        return tuple(self.failures) if all(_is_away(event) for event in self.failures.values()) else ()

    def cause_of(self, host: str) -> str:
        """Why a host is away, as a clause, where more is known than that it does not answer; else empty."""
        return str(self.failures.get(host, {}).get("cause", ""))

    def is_away(self, host: str) -> bool:
        """Whether a host could not be reached, whatever went wrong on others, perhaps because of that."""
        return not self.overdue and host in self.failures and _is_away(self.failures[host])


def _is_away(event: dict[str, Any]) -> bool:
    said = str(event["message"]).lower()
    return event["kind"] == "unreachable" and not any(refusal in said for refusal in _REFUSALS)


class Watch:
    """Says when a play hangs: nothing was heard of it for too long, or it takes too long altogether.

    Args:
        silence: Seconds without any event.
        total: Seconds in all.
        clock: Seconds that only grow.
    """

    def __init__(self, silence: float, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._silence = silence
        self._total = total
        self._clock = clock
        self._began = self._heard = clock()

    def hear(self) -> None:
        """An event came."""
        self._heard = self._clock()

    @property
    def left(self) -> float:
        """Seconds until it counts as hanging if nothing more is heard."""
        return min(self._heard + self._silence, self._began + self._total) - self._clock()

    @property
    def verdict(self) -> str:
        """Why it counts as hanging, as a clause; empty if it does not."""
        now = self._clock()
        if now - self._heard >= self._silence:
            return f"nothing was heard of it for {self._silence:.0f} s"
        if now - self._began >= self._total:
            return f"it did not end within {self._total:.0f} s"
        return ""


def run_play(request: OperationRequest, job: dict[str, Any]) -> PlayOutcome:
    """Run a job to its end in a child process that leads a session of its own and holds the deployment's lock.

    Args:
        request: Whom it is for.
        job: As ``ansible_process`` takes it; ``timeout`` bounds the whole play, ``silence`` the time without an event.
    """
    outcome = PlayOutcome()
    errors = Path(job["log_file"]).with_suffix(".stderr")
    errors.parent.mkdir(parents=True, exist_ok=True)
    with errors.open("wb") as stderr:
        child = children.start(partial(_start, request, stderr))
    # ansible-runner ends the play itself when its time is over; the watch is for one that no longer does.
    watch = Watch(job["silence"], job["timeout"] + _KILL_GRACE)
    ended = threading.Event()
    guard = threading.Thread(target=_guard, args=(child, watch, outcome, ended), daemon=True)
    guard.start()
    try:
        _exchange(request, child, job, outcome, watch)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_KILL_GRACE)
    finally:
        ended.set()
        if child.poll() is None:
            children.end(child, 0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_KILL_GRACE)
        if (child.returncode or 0) < 0:
            remove_leftovers()
        children.unregister(child)
    _read_errors(errors, outcome, job["secrets"])
    return outcome


def _guard(child: subprocess.Popen[bytes], watch: Watch, outcome: PlayOutcome, ended: threading.Event) -> None:
    while not ended.wait(max(0.05, watch.left)):
        verdict = watch.verdict
        if verdict:
            outcome.overdue = f"{verdict}, {outcome.where}"
            children.end(child, _KILL_GRACE)
            return


def _start(request: OperationRequest, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.executors.ansible_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        pass_fds=request.lock_fds,
        env={
            **without_secrets(os.environ, request.secrets.values()),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "PYTHONUNBUFFERED": "1",
        },
    )


def _exchange(
    request: OperationRequest, child: subprocess.Popen[bytes], job: dict[str, Any], outcome: PlayOutcome, watch: Watch
) -> None:
    # Both pipes exist, as asked for above.
    stdin, stdout = child.stdin, child.stdout
    if stdin is None or stdout is None:
        raise AssertionError("the child process has no pipes")
    with contextlib.suppress(BrokenPipeError), stdin:
        stdin.write(json.dumps(job).encode())
    with stdout:
        for line in stdout:
            watch.hear()
            try:
                event = json.loads(line)
            except ValueError:
                outcome.note_line(line.decode(errors="replace").rstrip())
                continue
            shown = outcome.take(event)
            if shown:
                request.progress(shown)


def _read_errors(path: Path, outcome: PlayOutcome, secrets: Sequence[str]) -> None:
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    text = mask(text, secrets)
    if text:
        path.write_text(text + "\n", encoding="utf-8")
        outcome.lines += text.splitlines()[-10:]
    else:
        path.unlink()
