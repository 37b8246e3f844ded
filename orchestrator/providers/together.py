"""Puts together what several threads ask of a cloud at the same time, so that it is one call instead of many."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from threading import Lock
from typing import Generic, TypeVar

from orchestrator.errors import DeployError

Asked = TypeVar("Asked", bound=Hashable)
Answer = TypeVar("Answer")

_MOST = 200
"""How many questions are one call at most: a filter of EC2 takes no more values."""


class Together(Generic[Asked, Answer]):
    """While one call is under way, what others ask is gathered for the next one; nobody waits for company.

    An answer is never older than its question.

    Args:
        call: Answers several questions; what it leaves out has no answer. An error as an answer is raised to its asker.
    """

    def __init__(self, call: Callable[[Sequence[Asked]], Mapping[Asked, Answer | DeployError]]) -> None:
        self._call = call
        self._turn = Lock()
        self._guard = Lock()
        self._waiting: list[tuple[Asked, Future[Answer | None]]] = []

    def ask(self, asked: Asked) -> Answer | None:
        """The answer; ``None`` if there is none.

        Raises:
            DeployError: What the call failed at.
        """
        mine: Future[Answer | None] = Future()
        with self._guard:
            self._waiting.append((asked, mine))
        while not mine.done():
            with self._turn:
                if not mine.done():
                    self._answer()
        return mine.result()

    def _answer(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            answers = self._call(list(dict.fromkeys(asked for asked, _ in batch)))
        except BaseException as error:
            for _, future in batch:
                future.set_exception(_own(error))
            if not isinstance(error, Exception):
                raise
            return
        for asked, future in batch:
            answer = answers.get(asked)
            if isinstance(answer, DeployError):
                future.set_exception(_own(answer))
            else:
                future.set_result(answer)


def _own(error: BaseException) -> BaseException:
    """The same error for one who asked: whoever repeats writes into it how often."""
    if not isinstance(error, DeployError):
        return error
    made = copy(error)
    made.__cause__ = error
    return made
