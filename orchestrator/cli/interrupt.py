"""Ctrl-C: once finishes what is running and saves; twice stops now, with the state still good."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType

from orchestrator.cli.console import Console
from orchestrator.executors import children

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OVER = 0
"""What is written to the pipe to end the thread that reads it; no signal has this number."""


@contextmanager
def interruptible(console: Console) -> Iterator[Event]:
    """Yields an event that the first Ctrl-C (or SIGTERM) sets; the second one ends the process.

    Every step is durable before and after, so that stopping at any instant leaves a state that can go on.

    A thread of its own acts on the signals, by way of a pipe that the interpreter writes their numbers to: a
    handler would have to wait until the main thread can run it, and two signals meanwhile would count as one.
    """
    cancel = Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = Thread(target=_watch, args=(reader, cancel, console), name="interrupt", daemon=True)
    watcher.start()
    previous_handlers = {number: signal.signal(number, _leave_it_to_the_watcher) for number in _SIGNALS}
    previous_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield cancel
    finally:
        signal.set_wakeup_fd(previous_writer)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        os.write(writer, bytes([_OVER]))
        watcher.join()
        os.close(writer)
        os.close(reader)


def _leave_it_to_the_watcher(_number: int, _frame: FrameType | None) -> None:
    """Only signals with a handler are written to the pipe."""


def _watch(reader: int, cancel: Event, console: Console) -> None:
    while (number := os.read(reader, 1)[0]) != _OVER:
        if number not in _SIGNALS:
            continue
        if not cancel.is_set():
            cancel.set()
            console.progress_at_once(
                "\nInterrupted: finishing what is running, then saving. Press Ctrl-C again to stop now."
            )
            continue
        children.close()
        console.progress_at_once("\nStopped now. The state is good; run the same command again to go on.")
        os._exit(128 + number)
