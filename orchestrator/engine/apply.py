"""Walks a plan in parallel; a failure stops its dependants only, and all failures are told together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

from orchestrator.engine.degraded import degraded_causes, degraded_parts, with_causes
from orchestrator.engine.hooks import (
    ChangeFailed,
    ChangeFinished,
    ChangeProgress,
    ChangeRetrying,
    ChangeSkipped,
    ChangeStarted,
    Hook,
)
from orchestrator.engine.limits import Limits
from orchestrator.engine.operations import RunContext, perform
from orchestrator.engine.retries import RetryingExecutors, RetryPolicy
from orchestrator.engine.schedule import Schedule
from orchestrator.errors import ApplyFailedError, CancelledError, DegradedError, DeployError
from orchestrator.planning.actions import RENEWALS, Action
from orchestrator.planning.plan import Change, Plan
from orchestrator.state.session import StateWriter

DEFAULT_PARALLELISM = 32
"""Most changes wait for others' machines; what burdens this one or a provider has a narrower limit of its own."""

INTERRUPTED = "interrupted"

MOST_NAMES = 20
"""How many addresses an interruption names; more are counted."""


@dataclass(slots=True)
class Outcome:
    """What became of the changes of a plan, by address.

    Attributes:
        done: Seconds that each change took.
        failed: Why it failed.
        skipped: What each one waited for in vain.
        degraded: Of the ones done, what could not be reached and is left to a later apply.
        causes: Of what could not be reached, why, where more is known than that it does not answer.
    """

    done: dict[str, float] = field(default_factory=dict)
    failed: dict[str, DeployError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether everything was done, and whole."""
        return not self.failed and not self.skipped and not self.degraded


def apply_plan(
    plan: Plan,
    context: RunContext,
    writer: StateWriter,
    hook: Hook,
    parallelism: int = DEFAULT_PARALLELISM,
    *,
    retries: RetryPolicy | None = None,
    estimates: Mapping[str, float] | None = None,
) -> Outcome:
    """Do what the plan says and nothing else.

    Args:
        plan: The plan, made from the state that ``writer`` holds.
        context: What all changes share.
        writer: Makes every step durable.
        hook: Gets an event for everything that happens; called from several threads, one at a time a change.
        parallelism: How many changes run at the same time at most; providers and executors have limits of their own.
        retries: How often and when an operation is tried again that failed for a moment.
        estimates: Seconds that changes took in earlier runs, by address; what has the longest way to the end is
            started first.

    Returns:
        What was done, what failed and what was left out; the caller decides whether that is an error.
    """
    schedule = Schedule(plan.changes, parallelism, Limits(context.executors).of, estimates)
    return _Walk(schedule, context, writer, hook, retries or RetryPolicy()).run(parallelism)


class _Walk:
    def __init__(
        self, schedule: Schedule, context: RunContext, writer: StateWriter, hook: Hook, retries: RetryPolicy
    ) -> None:
        self._schedule = schedule
        self._context = context
        self._writer = writer
        self._hook = hook
        self._retries = retries
        self._outcome = Outcome()
        self._started: dict[str, float] = {}

    def run(self, parallelism: int) -> Outcome:
        ended: SimpleQueue[tuple[Change, Future[float]]] = SimpleQueue()
        running = 0
        with ThreadPoolExecutor(max_workers=parallelism, thread_name_prefix="change") as pool:
            while True:
                if self._context.cancel.is_set():
                    self._skip([(change, INTERRUPTED) for change in self._schedule.give_up_all()])
                for change in self._schedule.start():
                    running += 1
                    future = pool.submit(self._perform, change)
                    future.add_done_callback(lambda done, change=change: ended.put((change, done)))  # type: ignore[misc]
                if not running:
                    break
                change, future = ended.get()
                running -= 1
                self._settle(change, future)
        return self._outcome

    def _perform(self, change: Change) -> float:
        started = self._started[change.address] = time.monotonic()
        self._hook(ChangeStarted(change))

        def told(error: DeployError, attempt: int, of: int, seconds: float) -> None:
            self._hook(ChangeRetrying(change, error, attempt, seconds, of))

        patient = replace(self._context, executors=RetryingExecutors(self._context.executors, self._retries, told))
        perform(change, patient, self._writer, lambda message: self._hook(ChangeProgress(change, message)))
        return time.monotonic() - started

    def _settle(self, change: Change, future: Future[float]) -> None:
        address, cause = change.address, future.exception()
        if cause is None:
            self._outcome.done[address] = future.result()
            is_made = change.action in (*RENEWALS, Action.UPDATE)
            record = self._writer.state.instances.get(address)
            degraded = degraded_parts(record) if is_made else ()
            if degraded:
                self._outcome.degraded[address] = degraded
                self._outcome.causes.update(degraded_causes(record))
            self._hook(ChangeFinished(change, future.result(), degraded))
            self._schedule.finish(address)
        elif isinstance(cause, CancelledError):
            self._skip([(change, INTERRUPTED), *((c, INTERRUPTED) for c, _ in self._schedule.fail(address))])
        elif isinstance(cause, DeployError):
            self._outcome.failed[address] = cause
            self._hook(ChangeFailed(change, cause, time.monotonic() - self._started[address]))
            self._skip(self._schedule.fail(address))
        else:
            raise cause

    def _skip(self, changes: Iterable[tuple[Change, str]]) -> None:
        for change, because in changes:
            self._outcome.skipped[change.address] = because
            self._hook(ChangeSkipped(change, because))


def failure_of(outcome: Outcome, cancelled: bool) -> DeployError | None:
    """The one error that tells what an incomplete run failed at, or ``None`` if it is complete."""
    causes = outcome.causes
    partial = [f"{address} does without {with_causes(parts, causes)}" for address, parts in outcome.degraded.items()]
    if outcome.failed:
        lines = [f"{address}: {cause}" for address, cause in outcome.failed.items()]
        if partial:
            lines.append("Degraded: " + "; ".join(partial))
        if outcome.skipped:
            lines.append("Left undone because of that: " + ", ".join(outcome.skipped))
        return ApplyFailedError(
            f"{len(outcome.failed)} change{'s' if len(outcome.failed) > 1 else ''} failed.",
            detail="\n\n".join(lines),
            resolution="Mend the cause and run the same command again: it goes on where this run stopped.",
            failed=outcome.failed,
            skipped=outcome.skipped,
            degraded=outcome.degraded,
            causes=causes,
        )
    if cancelled:
        undone = ", ".join([*outcome.skipped][:MOST_NAMES]) or "nothing"
        if len(outcome.skipped) > MOST_NAMES:
            undone += f" and {len(outcome.skipped) - MOST_NAMES} more"
        return CancelledError(
            "Interrupted.",
            detail=f"What was running was finished and saved. Left undone: {undone}.",
            resolution="Run the same command again to go on.",
        )
    if partial:
        return DegradedError(
            "The deployment runs, but not whole.",
            detail="\n".join((*partial, "These could not be reached; all else was done.")),
            resolution="Bring them back and run the same command again: it completes what they are missing.",
            degraded=outcome.degraded,
            causes=causes,
        )
    return None
