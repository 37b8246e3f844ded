"""Tries operations again that failed for a moment: with growing pauses, within bounds, and not after Ctrl-C."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeAlias

from orchestrator.errors import CancelledError, DeployError
from orchestrator.executors.base import Executor, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.observation import Observation

Told: TypeAlias = Callable[[DeployError, int, int, float], None]
"""Called before a pause: with the error, the number of the next attempt, how many there are, seconds until then."""


def _pause(cancel: Event, seconds: float) -> bool:
    """Wait; whether the wait was ended by ``cancel``."""
    return cancel.wait(seconds)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when an operation is tried again.

    The pause before attempt *n* is drawn from the upper half of ``first_pause`` · 2^(n-2), at most ``longest_pause``,
    so that many operations that failed together do not come back together. A pause that the other side asked for is
    not cut short.

    Attributes:
        attempts: How many there are in all.
        first_pause: Seconds before the second attempt.
        longest_pause: Bound on the doubling, in seconds.
        total: Seconds after the beginning of the first attempt in which another one may begin.
        clock: Seconds that only grow.
        pause: Waits so many seconds, or until the event is set, and returns whether it was.
        draw: A random number from 0 to 1.
    """

    attempts: int = 5
    first_pause: float = 1.0
    longest_pause: float = 30.0
    total: float = 300.0
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[Event, float], bool] = _pause
    draw: Callable[[], float] = random.random

    def run(self, attempt: Callable[[], OperationResult], cancel: Event, told: Told) -> OperationResult:
        """Run ``attempt`` until it succeeds, fails for good, or the bounds are reached.

        Raises:
            CancelledError: If ``cancel`` was set during a pause.
            DeployError: What the last attempt raised; its detail then says how often and how long it was tried.
        """
        began = self.clock()
        for number in range(1, self.attempts + 1):
            try:
                return attempt()
            except DeployError as error:
                seconds = self._seconds_before(number + 1, error.retry_after)
                passed = self.clock() - began
                if not error.transient:
                    raise
                if number == self.attempts or passed + seconds > self.total:
                    error.detail = f"{error.detail}\n{_tried(number, passed, error.retry_after)}".lstrip()
                    raise
                told(error, number + 1, self.attempts, seconds)
                if self.pause(cancel, seconds):
                    raise CancelledError(
                        "Interrupted.", detail=f"Was waiting {seconds:.0f} s to try again after: {error.summary}"
                    ) from error
        raise AssertionError("the last attempt returns or raises")

    def _seconds_before(self, number: int, asked: float) -> float:
        grown = min(self.longest_pause, self.first_pause * 2.0 ** (number - 2))
        return max(asked, grown * (0.5 + self.draw() / 2))


def _tried(attempts: int, seconds: float, asked: float) -> str:
    times = "once" if attempts == 1 else f"{attempts} times"
    more = f" The other side asks to wait {asked:.0f} s." if asked else ""
    return f"Tried {times} within {seconds:.0f} s.{more}"


class RetryingExecutors(ExecutorRegistry):
    """The executors of a run, each of which tries again what failed for a moment.

    An operation is repeated where it stands, between the two durable steps around it: its record stays pending, with
    the same token, so a crash in a pause is like one in the operation.

    Args:
        inner: The executors.
        policy: How often and when.
        told: Called before each pause.
    """

    def __init__(self, inner: ExecutorRegistry, policy: RetryPolicy, told: Told) -> None:
        super().__init__()
        self._inner = inner
        self._policy = policy
        self._told = told

    def get(self, artifact_type: str) -> Executor:
        """The executor for an artifact type, made patient.

        Raises:
            OperationError: If there is none.
        """
        return _Patient(self._inner.get(artifact_type), self._policy, self._told)


@dataclass(frozen=True, slots=True)
class _Patient:
    executor: Executor
    policy: RetryPolicy
    told: Told

    def run(self, request: OperationRequest) -> OperationResult:
        return self.policy.run(lambda: self.executor.run(request), request.cancel, self.told)

    def observe(self, request: OperationRequest) -> Observation:
        return self.executor.observe(request)
