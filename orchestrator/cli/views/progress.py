"""Plain progress lines: one an event, with the time since the start; the same during a run and when read later."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.cli.views.human import SYMBOLS
from orchestrator.cli.views.words import duration
from orchestrator.engine.hooks import Event
from orchestrator.services.run_events import event_to_json

_DOING = {
    "create": "creating",
    "update": "updating",
    "replace": "replacing",
    "move": "moving",
    "delete": "deleting",
    "forget": "letting go",
}
_SYMBOLS = {action.value: symbol for action, symbol in SYMBOLS.items()}


class LineWriter:
    """Tells the events of a run as lines; counts what is done.

    Args:
        total: How many changes there are, if that is known already.
    """

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self._settled = 0

    def line(self, event: Mapping[str, Any]) -> str:
        """One event, as its JSON value, as text without its time; nothing if it says nothing to a person."""
        kind, address, seconds = event["event"], event.get("address", ""), float(event.get("seconds") or 0)
        match kind:
            case "planned":
                self._total = len(event["changes"])
                counts = ", ".join(f"{number} {action}" for action, number in event["summary"].items())
                return f"planned: {counts or 'nothing to do'}"
            case "change-started":
                action = event["action"]
                return f"{_SYMBOLS.get(action, '?')} {address}: {_DOING.get(action, action)}"
            case "change-progress":
                return f"  {address}: {event['message']}"
            case "change-retrying":
                attempt = f"{event['attempt']} of {event['of']}" if event.get("of") else str(event["attempt"])
                wait = f"Attempt {attempt} begins in {duration(event['wait_seconds'])}"
                return f"↻ {address}: {event['error']['summary']} {wait}"
            case "change-finished":
                without = f", without {', '.join(event['without'])}" if event.get("without") else ""
                return f"✓ {address}: done in {seconds:.1f} s{without}{self._count()}"
            case "change-failed":
                return f"✗ {address}: failed after {seconds:.1f} s{self._count()}: {event['error']['summary']}"
            case "change-skipped":
                return f"· {address}: left undone{self._count()} ({event['because']})"
        return ""

    def _count(self) -> str:
        self._settled += 1
        return f" ({self._settled}/{self._total})" if self._total is not None else ""


class ProgressLines:
    """Tells every event of a run as one line while it goes on.

    Args:
        write: Takes a line.
        total: How many changes there are.
        clock: Seconds of a clock that is never set.
    """

    def __init__(self, write: Callable[[str], None], total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()
        self._lines = LineWriter(total)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._write(with_time(self._clock() - self._started, self._lines.line(event_to_json(event))))


def with_time(elapsed: float, text: str) -> str:
    """A line with the seconds since the start before it."""
    return f"[{elapsed:6.1f} s] {text}"
