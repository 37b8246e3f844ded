"""Where output goes: results to stdout, progress to stderr, all of it to a debug log; secrets masked everywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, RLock
from typing import TYPE_CHECKING

from orchestrator.cli.views import human
from orchestrator.errors import DeployError, InvalidInputError
from orchestrator.state.masking import mask

if TYPE_CHECKING:  # draws with a library that takes time to load
    from orchestrator.cli.views.progress_terminal import TerminalProgress

_LOG = logging.getLogger("orchestrator")

_ASK_INTERVAL = 0.2
"""Seconds between two looks whether a question is still to be answered."""


class Console:
    """The one way out. Safe to use from several threads.

    Args:
        arguments: The command line after ``deploy``.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self._lock = RLock()
        self._secrets: Callable[[], tuple[str, ...]] = tuple
        self._handler: logging.Handler | None = None
        self._log_file: Path | None = None
        self._picture: TerminalProgress | None = None
        self._started = time.monotonic()
        _LOG.setLevel(logging.DEBUG)

    @property
    def command_line(self) -> str:
        """The command as given, for the log and the lock."""
        return shlex.join(["deploy", *self.arguments])

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def is_terminal(self) -> bool:
        """Whether a person can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def colour(self) -> bool:
        """Whether stderr shows colours."""
        return sys.stderr.isatty() and "NO_COLOR" not in os.environ

    @property
    def can_draw(self) -> bool:
        """Whether stderr is a terminal on which a picture can be redrawn in place."""
        encoding = (sys.stderr.encoding or "").lower().replace("-", "")
        return self.colour and os.environ.get("TERM", "dumb") not in ("", "dumb") and encoding == "utf8"

    @contextmanager
    def drawing(self, picture: TerminalProgress) -> Iterator[None]:
        """Within the block ``picture`` is at the end of the terminal, and what else is told is written above it."""
        with picture:
            self._picture = picture
            try:
                yield
            finally:
                self._picture = None

    def mask_with(self, secrets: Callable[[], tuple[str, ...]]) -> None:
        """From now on replace these values in everything that goes out."""
        self._secrets = secrets

    def log_to(self, run_folder: Path) -> None:
        """Write the debug log of this run into its folder; a second call changes nothing."""
        if self._handler is not None:
            return
        run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log_file = run_folder / "debug.log"
        self._log_file.touch(mode=0o600)
        handler = logging.FileHandler(self._log_file, encoding="utf-8")
        handler.setFormatter(_MaskingFormatter(self._secret_values))
        _LOG.addHandler(handler)
        self._handler = handler
        _LOG.debug("command: %s", self.command_line)

    def _secret_values(self) -> tuple[str, ...]:
        return self._secrets()

    def result(self, text: str) -> None:
        """Print a result."""
        with self._lock, self._beside_picture():
            sys.stdout.write(self.masked(text))
            if not text.endswith("\n"):
                sys.stdout.write("\n")
            sys.stdout.flush()

    @contextmanager
    def _beside_picture(self) -> Iterator[None]:
        if self._picture is None or not sys.stdout.isatty():
            yield
        else:
            with self._picture.aside():
                yield

    def progress(self, text: str) -> None:
        """Tell a person what is going on."""
        with self._lock:
            line = self.masked(text)
            # Nobody to tell it to, since the terminal or the reader of the pipe is gone, is no reason to end a run.
            with contextlib.suppress(OSError):
                if self._picture is not None:
                    self._picture.say(line)
                else:
                    sys.stderr.write(line + "\n")
                    sys.stderr.flush()
            _LOG.info("%s", text)

    def note(self, text: str) -> None:
        """Write to the debug log only."""
        _LOG.info("%s", text)

    def progress_at_once(self, text: str) -> None:
        """Tell it without waiting for anybody else who is telling something."""
        picture = self._picture
        with contextlib.suppress(OSError):
            if picture is None or not picture.say_at_once(text):
                os.write(sys.stderr.fileno(), (text + "\n").encode())

    def masked(self, text: str) -> str:
        """The text without secret values."""
        return mask(text, self._secrets())

    def ask(self, question: str, cancel: Event | None = None) -> bool:
        """Ask for a yes; anything else is a no, and so is ``cancel`` being set meanwhile."""
        with self._lock:
            sys.stderr.write(question + " [y/N] ")
            sys.stderr.flush()
        while cancel is not None and not select.select([sys.stdin], [], [], _ASK_INTERVAL)[0]:
            if cancel.is_set():
                return False
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def warn(self, warnings: Sequence[str]) -> None:
        """Tell what was mended on the way."""
        for text in warnings:
            self.progress(f"Warning: {text}")

    def show_error(self, error: DeployError) -> None:
        """Tell what went wrong, where, and what to do."""
        _LOG.debug("failed", exc_info=error)
        if isinstance(error, InvalidInputError):
            self.progress(human.render_diagnostics(error.diagnostics))
        self.progress(human.render_error(error, self._log_file))

    def drop_stdout(self) -> None:
        """After the reader went away: let the interpreter's last flush go nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def close(self) -> None:
        """Finish the log."""
        if self._handler is not None:
            _LOG.removeHandler(self._handler)
            self._handler.close()


class _MaskingFormatter(logging.Formatter):
    def __init__(self, secrets: Callable[[], tuple[str, ...]]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(threadName)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record), self._secrets())
