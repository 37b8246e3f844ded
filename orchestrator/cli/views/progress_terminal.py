"""Shows a run on a terminal while it goes on: a picture at the end of the screen, redrawn in place."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from orchestrator.cli.views.progress_board import Board
from orchestrator.cli.views.progress_frame import Frame, render
from orchestrator.engine.hooks import Event

Remaining = Callable[[Board, float], tuple[float, bool] | None]
"""Estimates how long the rest takes, at a moment of the board's clock."""

_INTERVAL = 0.25
_ESTIMATE_INTERVAL = 1.0
_PATIENCE = 0.3
"""Seconds that a message which must not wait waits for the picture to be complete."""

_TO_LINE_END = "\x1b[K"
_TO_SCREEN_END = "\x1b[J"


class TerminalProgress:
    """A picture of a run that is redrawn in place, with whatever else is written above it.

    The cursor stays visible, on the line below the picture: a process that is killed leaves a usable terminal.

    Args:
        board: Where every change stands.
        title: What the run does.
        remaining: Estimates how long the rest takes.
        write: Takes text for the terminal.
        size: Gives the terminal's columns and rows.
        clock: Seconds of a clock that is never set.
        masked: Takes secret values out of text.
        colour: Whether colours are shown.
    """

    def __init__(
        self,
        board: Board,
        title: str,
        remaining: Remaining,
        *,
        write: Callable[[str], None] | None = None,
        size: Callable[[], tuple[int, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        masked: Callable[[str], str] = str,
        colour: bool = True,
    ) -> None:
        self._board = board
        self._title = title
        self._remaining = remaining
        self._write = write or _write_to_stderr
        self._size = size or _size_of_stderr
        self._clock = clock
        self._masked = masked
        self._colour = colour
        self._guard = threading.RLock()
        self._stop = threading.Event()
        self._drawn: list[int] = []
        self._estimated_at = -_ESTIMATE_INTERVAL
        self._estimate: tuple[float, bool] | None = None
        self._thread = threading.Thread(target=self._redraw, name="progress", daemon=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self.draw()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the result in the place of the picture."""
        self._stop.set()
        self._thread.join()
        with self._guard:
            columns, _ = self._size()
            frame = Frame(self._board, self._title, self._clock())
            lines = render(frame.final_lines(columns - 1), columns, colour=self._colour)
            self._write(self._erasing() + "".join(f"{line}\n" for line in lines) + ("\n" if lines else ""))

    def __call__(self, event: Event) -> None:
        """Take one event of the run."""
        with self._guard:
            self._board.take(event, self._clock(), self._masked)

    def draw(self) -> None:
        """Draw the picture anew, in the place of the last one."""
        with self._guard:
            self._write(self._picture())

    def say(self, text: str) -> None:
        """Write lines above the picture, where they stay."""
        with self._guard:
            self._write(self._erasing() + text + "\n" + self._picture())

    def say_at_once(self, text: str) -> bool:
        """The same, unless the picture is being drawn and that takes long; says whether it was written."""
        if not self._guard.acquire(timeout=_PATIENCE):
            return False
        try:
            self.say(text)
        finally:
            self._guard.release()
        return True

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the picture away while something else writes to the terminal."""
        with self._guard:
            self._write(self._erasing())
            yield
            self.draw()

    def _redraw(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self.draw()

    def _picture(self) -> str:
        columns, rows = self._size()
        now = self._clock()
        if now - self._estimated_at >= _ESTIMATE_INTERVAL:
            self._estimate, self._estimated_at = self._remaining(self._board, now), now
        self._board.advance(now)
        frame = Frame(self._board, self._title, now, self._estimate)
        # The last column stays free, since some terminals go to the next line after it; the last row is the cursor's.
        lines = frame.lines(max(1, columns - 1), max(1, rows - 1))
        text = self._to_top(columns)
        text += "".join(f"{line}{_TO_LINE_END}\n" for line in render(lines, columns, colour=self._colour))
        self._drawn = [line.cell_len for line in lines]
        return text + _TO_SCREEN_END

    def _erasing(self) -> str:
        text = self._to_top(self._size()[0]) + _TO_SCREEN_END
        self._drawn = []
        return text

    def _to_top(self, columns: int) -> str:
        """To the first line of the picture; one drawn on a wider terminal takes more rows now."""
        rows = sum(max(1, -(-length // max(1, columns))) for length in self._drawn)
        return f"\r\x1b[{rows}A" if rows else "\r"


def _write_to_stderr(text: str) -> None:
    # A terminal that is gone is no reason to end a run.
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _size_of_stderr() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
