"""Plain progress lines: one a step, with the time since the start."""

from __future__ import annotations

import time
from typing import assert_never

from orchestrator.cli.console import Console
from orchestrator.cli.views.human import SYMBOLS
from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
    Event,
)

_DOING = {
    "create": "creating",
    "update": "updating",
    "replace": "replacing",
    "delete": "deleting",
    "forget": "letting go",
}


class ProgressLines:
    """Prints every event of a run as one line on stderr."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._started = time.monotonic()
        self._total = total
        self._settled = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        address = event.change.address
        match event:
            case ChangeStarted(change):
                text = f"{SYMBOLS[change.action]} {address}: {_DOING.get(change.action.value, change.action.value)}"
            case ChangeProgress(_, message):
                text = f"  {address}: {message}"
            case ChangeRetrying(_, error, attempt, seconds):
                text = f"↻ {address}: {error.summary} Attempt {attempt} begins in {seconds:.0f} s"
            case ChangeFinished(_, seconds):
                self._settled += 1
                text = f"✓ {address}: done in {seconds:.1f} s ({self._settled}/{self._total})"
            case ChangeFailed(_, error, seconds):
                self._settled += 1
                text = f"✗ {address}: failed after {seconds:.1f} s: {error.summary}"
            case ChangeSkipped():
                self._settled += 1
                text = f"· {address}: left undone ({event.because})"
            case _:
                assert_never(event)
        self._console.progress(f"[{time.monotonic() - self._started:6.1f} s] {text}")
