"""Walks a plan in parallel; a failure stops its dependants only, and all failures are told together."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from orchestrator.engine.hooks import ChangeFailed, ChangeFinished, ChangeProgress, ChangeSkipped, ChangeStarted, Hook
from orchestrator.engine.operations import RunContext, perform
from orchestrator.errors import ApplyFailedError, CancelledError, DeployError
from orchestrator.planning.plan import Change, Plan
from orchestrator.state.session import StateWriter

DEFAULT_PARALLELISM = 10


@dataclass(slots=True)
class Outcome:
    """What became of the changes of a plan, by address; ``skipped`` holds what each one waited for in vain."""

    done: dict[str, float] = field(default_factory=dict)
    failed: dict[str, DeployError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether everything was done."""
        return not self.failed and not self.skipped


def apply_plan(
    plan: Plan, context: RunContext, writer: StateWriter, hook: Hook, parallelism: int = DEFAULT_PARALLELISM
) -> Outcome:
    """Do what the plan says and nothing else.

    Args:
        plan: The plan, made from the state that ``writer`` holds.
        context: What all changes share.
        writer: Makes every step durable.
        hook: Gets an event for everything that happens; called from several threads, one at a time a change.
        parallelism: How many changes run at the same time at most.

    Returns:
        What was done, what failed and what was left out; the caller decides whether that is an error.
    """
    return _Walk(plan, context, writer, hook).run(parallelism)


class _Walk:
    def __init__(self, plan: Plan, context: RunContext, writer: StateWriter, hook: Hook) -> None:
        self._context = context
        self._writer = writer
        self._hook = hook
        self._outcome = Outcome()
        self._started: dict[str, float] = {}
        self._waiting = {address: change for address, change in plan.changes.items() if not change.is_noop}
        self._settled = {address for address, change in plan.changes.items() if change.is_noop}

    def run(self, parallelism: int) -> Outcome:
        running: dict[Future[float], Change] = {}
        with ThreadPoolExecutor(max_workers=parallelism, thread_name_prefix="change") as pool:
            while True:
                self._skip_hopeless()
                for change in self._ready()[: parallelism - len(running)]:
                    del self._waiting[change.address]
                    running[pool.submit(self._perform, change)] = change
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    self._settle(running.pop(future), future)
        return self._outcome

    def _ready(self) -> list[Change]:
        if self._context.cancel.is_set():
            return []
        return [c for c in self._waiting.values() if all(self._is_settled(a) for a in c.after)]

    def _is_settled(self, address: str) -> bool:
        return address in self._settled or address in self._outcome.done

    def _skip_hopeless(self) -> None:
        """Leave out what waits for something that failed, or everything once the operator wants to stop."""
        progressed = True
        while progressed:
            progressed = False
            for change in list(self._waiting.values()):
                blockers = [a for a in change.after if a in self._outcome.failed or a in self._outcome.skipped]
                because = "interrupted" if self._context.cancel.is_set() else (blockers[0] if blockers else "")
                if because:
                    del self._waiting[change.address]
                    self._outcome.skipped[change.address] = because
                    self._hook(ChangeSkipped(change, because))
                    progressed = True

    def _perform(self, change: Change) -> float:
        started = self._started[change.address] = time.monotonic()
        self._hook(ChangeStarted(change))
        perform(change, self._context, self._writer, lambda message: self._hook(ChangeProgress(change, message)))
        return time.monotonic() - started

    def _settle(self, change: Change, future: Future[float]) -> None:
        cause = future.exception()
        if cause is None:
            self._outcome.done[change.address] = future.result()
            self._hook(ChangeFinished(change, future.result()))
        elif isinstance(cause, CancelledError):
            self._outcome.skipped[change.address] = "interrupted"
            self._hook(ChangeSkipped(change, "interrupted"))
        elif isinstance(cause, DeployError):
            self._outcome.failed[change.address] = cause
            self._hook(ChangeFailed(change, cause, time.monotonic() - self._started[change.address]))
        else:
            raise cause


def failure_of(outcome: Outcome, cancelled: bool) -> DeployError | None:
    """The one error that tells what an incomplete run failed at, or ``None`` if it is complete."""
    if outcome.failed:
        lines = [f"{address}: {cause}" for address, cause in outcome.failed.items()]
        if outcome.skipped:
            lines.append("Left undone because of that: " + ", ".join(outcome.skipped))
        return ApplyFailedError(
            f"{len(outcome.failed)} change{'s' if len(outcome.failed) > 1 else ''} failed.",
            detail="\n\n".join(lines),
            resolution="Mend the cause and run the same command again: it goes on where this run stopped.",
            failed=outcome.failed,
            skipped=outcome.skipped,
        )
    if cancelled:
        undone = ", ".join(outcome.skipped) or "nothing"
        return CancelledError(
            "Interrupted.",
            detail=f"What was running was finished and saved. Left undone: {undone}.",
            resolution="Run the same command again to go on.",
        )
    return None
