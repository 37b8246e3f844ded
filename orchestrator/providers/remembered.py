"""What is asked once for all that need it, until it may have changed."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Remembered(Generic[Answer]):
    """An answer that serves until it is forgotten. Safe to use from several threads: one asks, the others wait."""

    def __init__(self) -> None:
        self._asking = Lock()
        self._guard = Lock()
        self._forgotten = 0
        self._answer: Answer | None = None

    def get(self, ask: Callable[[], Answer]) -> Answer:
        """The answer that is remembered, or a new one; what was forgotten while it was asked for is not kept."""
        with self._asking:
            with self._guard:
                if self._answer is not None:
                    return self._answer
                before = self._forgotten
            answer = ask()
            with self._guard:
                if before == self._forgotten:
                    self._answer = answer
            return answer

    def forget(self) -> None:
        """Have the next one ask anew."""
        with self._guard:
            self._forgotten += 1
            self._answer = None
