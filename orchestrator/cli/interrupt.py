"""Ctrl-C: once finishes what is running and saves; twice stops now, with the state still good."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from orchestrator.cli.console import Console
from orchestrator.executors.children import kill_all


@contextmanager
def interruptible(console: Console) -> Iterator[Event]:
    """Yields an event that the first Ctrl-C (or SIGTERM) sets; the second one ends the process.

    Every step is durable before and after, so that stopping at any instant leaves a state that can go on.
    """
    cancel = Event()

    def handle(signum: int, _frame: FrameType | None) -> None:
        if not cancel.is_set():
            cancel.set()
            console.progress_from_signal(
                "\nInterrupted: finishing what is running, then saving. Press Ctrl-C again to stop now."
            )
            return
        kill_all()
        console.progress_from_signal("\nStopped now. The state is good; run the same command again to go on.")
        os._exit(128 + signum)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
