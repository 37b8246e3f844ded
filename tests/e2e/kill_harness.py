"""Kills ``deploy apply`` at the events of its run, starts it again each time, and lets the last one end."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.state.local_store import LocalStateStore
from tests.e2e.command_line import Cli, Engine

_ORPHANS = 240.0
"""Seconds that a play which outlived its run may hold the lock."""


@dataclass
class KillHarness:
    """One deployment that is applied over and over.

    Attributes:
        cli: The command line.
        engine: The engine, asked past the orchestrator.
        deployment: Its name.
        file: What is applied.
        stride: How many events that no run before has told go by before a kill; 1 kills at every single one.
        seen: What was told so far, by any run.
        kills: At which event each run was killed.
        draw: For kills some time after the event instead of upon it.
    """

    cli: Cli
    engine: Engine
    deployment: str
    file: Path
    stride: int = 1
    seen: set[str] = field(default_factory=set)
    kills: list[str] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(4))

    def kill_and_start_again(self, most: int, seconds: float) -> None:
        """Until there were so many kills, a run has ended by itself, or the time is over; then leave one alone.

        Every kill is followed by a look at the engine's list and at the state's files.
        """
        end = time.monotonic() + seconds
        while len(self.kills) < most and time.monotonic() < end and self._run_and_kill():
            self.check()
        self._wait_for_lock()
        self.cli.run("apply", self.file, "--rehearse", "--auto-approve")

    def check(self) -> None:
        """Nothing is there twice, and the state can be read."""
        doubled = [a for a, count in Counter(self.engine.addresses(self.deployment)).items() if count > 1]
        assert not doubled, f"{doubled} after {self.kills}"
        LocalStateStore(self.cli.folder / ".deploy" / self.deployment / "state").load()

    def _run_and_kill(self) -> bool:
        """One run; whether it was killed."""
        self._wait_for_lock()
        process = self.cli.start("apply", self.file, "--rehearse", "--auto-approve", "--json")
        assert process.stdout is not None
        new, told = 0, []
        for line in process.stdout:
            told.append(line)
            name = event_name(line)
            if not name or name in self.seen:
                continue
            self.seen.add(name)
            new += 1
            if new >= self.stride:
                # Half of them upon the event, the others some time into what follows it.
                time.sleep(self.draw.choice((0.0, self.draw.random() * 0.5)))
                kill(process)
                self.kills.append(name)
                return True
        assert process.wait(timeout=60) == 0, "".join(told)
        return False

    def _wait_for_lock(self) -> None:
        end = time.monotonic() + _ORPHANS
        while self.cli.is_locked(self.deployment):
            assert time.monotonic() < end, f"the lock was not given back within {_ORPHANS:.0f} s"
            time.sleep(0.1)


def event_name(line: str) -> str:
    """What an event is about, without what differs from run to run; empty for one that is at no boundary."""
    try:
        event = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(event, dict) or "address" not in event:
        return ""
    return f"{event['event']} {event['address']} {event.get('message', '')}".strip()


def kill(process: subprocess.Popen[str]) -> None:
    """``kill -9``, and nothing read from it any longer."""
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert process.stdout is not None
    process.stdout.close()
