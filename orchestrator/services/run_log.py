"""Keeps a record of a run in its folder while it goes on: what was asked, every event, how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import __version__
from orchestrator.engine.hooks import ChangeFailed, ChangeProgress, ChangeStarted, Event, Hook
from orchestrator.errors import CancelledError, DegradedError, DeployError, StateError
from orchestrator.services.run_events import (
    COUNTED,
    FORMAT_VERSION,
    error_to_json,
    event_to_json,
    finished_event,
    plan_to_event,
    started_event,
)
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.durable_file import replace_file, write_all
from orchestrator.state.masking import mask

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan

EVENTS_FILE = "events.jsonl"
RUN_FILE = "run.json"
TAIL_LINES = 12
"""How many of the last lines of a failed change's log are kept with the failure."""

_LOG = logging.getLogger("orchestrator")
_TAIL_BYTES = 64 * 1024
_LONGEST_LINE = 300
_RECAP = "\nPLAY RECAP"
"""Ends Ansible's output with numbers that say nothing of the cause."""

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class LogTail:
    """The end of what a failed change wrote.

    Attributes:
        lines: Its last lines, secrets masked.
        file: Where all of it is; ``None`` if it is a part of the run's debug log.
    """

    lines: tuple[str, ...]
    file: Path | None = None


class RunLog:
    """The record of one run: ``run.json``, replaced at its beginning and end, and ``events.jsonl``, which only grows.

    A record that cannot be written stops no run: what is lost is said in the debug log. Safe to use from several
    threads. The file of events is locked for as long as the process lives, so that a reader can tell a run that goes on
    from one that was cut off.

    Args:
        folder: The run's folder, which exists.
        run: Its identifier.
        deployment: Name of the deployment.
        command: The command line.
        secrets: Gives the secret values known by now, which are masked in all that is kept.
        clock: For the stamps.
        monotonic: Seconds of a clock that is never set, for durations.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        deployment: str,
        command: str,
        secrets: Callable[[], tuple[str, ...]],
        *,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.tails: dict[str, LogTail] = {}
        self._about = {"run": run, "deployment": deployment, "command": command}
        self._secrets = secrets
        self._seen: set[str] = set()
        self._clock = clock
        self._monotonic = monotonic
        self._guard = threading.RLock()
        self._listeners: list[Listener] = []
        self._counts: Counter[str] = Counter()
        self._summary: dict[str, int] | None = None
        self._manifest: Mapping[str, Any] | None = None
        self._declined = False
        self._lines = _ChangeLines()
        self._fd = -1
        self._began = monotonic()
        self._started = render_time(clock())
        self._first: dict[str, Any] | None = None

    def begin(self) -> None:
        """Make the files and write that the run has started."""
        with self._kept_if_possible():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self.folder / EVENTS_FILE, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _LOG.addHandler(self._lines)
        self._write_run({"finished": None, "outcome": None})
        self._first = self._write(started_event(**self._about))

    def follow(self, listener: Listener) -> None:
        """From now on hand every event as a JSON value to ``listener``, that the run has started first."""
        with self._guard:
            if self._first is not None:
                listener(self._first)
            self._listeners.append(listener)

    def planned(self, plan: Plan) -> None:
        """Note what is going to be done."""
        value = plan_to_event(plan)
        self._summary = value["summary"]
        self._write_run({"finished": None, "outcome": None})
        self._write(value)

    def listening(self, hook: Hook) -> Hook:
        """A hook that notes every event before it hands it on."""

        def note(event: Event) -> None:
            self(event)
            hook(event)

        return note

    def __call__(self, event: Event) -> None:
        """Note one event of the engine."""
        value = event_to_json(event)
        if isinstance(event, ChangeStarted):
            self._lines.begin(event.change.address)
        elif isinstance(event, ChangeProgress):
            self._lines.add(event.change.address, event.message)
        elif isinstance(event, ChangeFailed):
            tail = self._tail(event)
            self.tails[event.change.address] = tail
            value["log"] = {"file": str(tail.file) if tail.file else None, "lines": list(tail.lines)}
        self._counts[COUNTED.get(value["event"], "")] += 1
        self._write(value)

    def note_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Have the last event carry the manifest."""
        self._manifest = manifest

    def note_declined(self) -> None:
        """The operator did not want the plan: the run ends with nothing done."""
        self._declined = True

    def end(self, error: BaseException | None) -> None:
        """Write how the run ended."""
        outcome = self._outcome(error)
        told = error_to_json(error) if isinstance(error, DeployError) else None
        if error is not None and told is None:
            told = {"summary": f"The program failed: {type(error).__name__}.", "detail": str(error), "resolution": ""}
        counts = {name: self._counts[name] for name in COUNTED.values()}
        ended = finished_event(outcome, self._monotonic() - self._began, counts, told, self._manifest)
        self._write(ended)
        kept = {key: ended[key] for key in ("outcome", "seconds", "counts", "error")}
        self._write_run({"finished": render_time(self._clock()), **kept})
        _LOG.removeHandler(self._lines)
        with self._guard:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _outcome(self, error: BaseException | None) -> str:
        if isinstance(error, CancelledError | KeyboardInterrupt):
            return "interrupted"
        if isinstance(error, DegradedError):
            return "degraded"
        if error is not None:
            return "failed"
        return "declined" if self._declined else "succeeded"

    def _tail(self, event: ChangeFailed) -> LogTail:
        file = getattr(event.error, "log_file", None)
        lines = read_tail(file) if isinstance(file, Path) else ()
        if lines:
            return LogTail(tuple(self._masked(list(lines))), file)
        return LogTail(tuple(self._masked(self._lines.take(event.change.address))))

    def _write_run(self, more: Mapping[str, Any]) -> None:
        about = {"format_version": FORMAT_VERSION, **self._about, "program_version": __version__}
        value = {**about, "started": self._started, "plan": self._summary}
        text = json.dumps(self._masked({**value, **more}), indent=2) + "\n"
        with self._kept_if_possible():
            replace_file(self.folder / RUN_FILE, text.encode("ascii"))

    def _write(self, value: Mapping[str, Any]) -> dict[str, Any]:
        stamp = {"time": render_time(self._clock()), "elapsed": round(self._monotonic() - self._began, 3)}
        line: dict[str, Any] = self._masked({**stamp, **value})
        with self._guard:
            if self._fd >= 0:
                with self._kept_if_possible():
                    write_all(self._fd, (json.dumps(line) + "\n").encode("ascii"))
            for listener in self._listeners:
                listener(line)
        return line

    def _masked(self, value: Any) -> Any:
        # A destroy clears the secrets before it is over: what was one stays one to the end of the run.
        with contextlib.suppress(DeployError):
            self._seen.update(self._secrets())
        return _mask_strings(value, tuple(self._seen))

    @contextmanager
    def _kept_if_possible(self) -> Iterator[None]:
        try:
            yield
        except (OSError, StateError) as cause:
            _LOG.warning("the record of this run is not complete: %s", cause)


@contextmanager
def recorded(log: RunLog) -> Iterator[RunLog]:
    """The record of what happens in the block, from its beginning to its end, however it ends."""
    log.begin()
    try:
        yield log
    except BaseException as cause:
        log.end(cause)
        raise
    else:
        log.end(None)


def read_tail(file: Path) -> tuple[str, ...]:
    """The last lines of a file that say something, long ones shortened; none if it cannot be read."""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        opened.seek(0, os.SEEK_END)
        opened.seek(max(0, opened.tell() - _TAIL_BYTES))
        text = opened.read().decode("utf-8", errors="replace").partition(_RECAP)[0]
        return tuple([_shortened(line) for line in text.splitlines() if line.strip()][-TAIL_LINES:])
    return ()


def _shortened(line: str) -> str:
    text = line.rstrip()
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"


def _mask_strings(value: Any, secrets: tuple[str, ...]) -> Any:
    # String by string: in the finished JSON a secret made of digits would take a number apart.
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, Mapping):
        return {key: _mask_strings(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask_strings(item, secrets) for item in value]
    return value


class _ChangeLines(logging.Handler):
    """The last lines that each change wrote: its progress, and what was logged by the thread that works on it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self._by_address: dict[str, deque[str]] = {}
        self._by_thread: dict[int, deque[str]] = {}

    def begin(self, address: str) -> None:
        """The calling thread works on this change from now on."""
        self._by_address[address] = self._by_thread[threading.get_ident()] = deque(maxlen=TAIL_LINES)

    def add(self, address: str, message: str) -> None:
        """A line of progress."""
        self._by_address.setdefault(address, deque(maxlen=TAIL_LINES)).append(message)

    def take(self, address: str) -> list[str]:
        """The lines of a change, which is over."""
        return [line for text in self._by_address.pop(address, ()) for line in text.splitlines()][-TAIL_LINES:]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for the change that the logging thread works on; what the console says is there already."""
        lines = self._by_thread.get(record.thread or 0)
        if lines is not None and record.name != _LOG.name:
            lines.append(self.format(record))
