"""Another attempt after what passes: when, how often, how long, and not after Ctrl-C."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.apply import Outcome, apply_plan
from orchestrator.engine.hooks import ChangeFailed, ChangeFinished, ChangeRetrying, ChangeSkipped, ChangeStarted, Event
from orchestrator.engine.operations import RunContext
from orchestrator.engine.retries import RetryPolicy
from orchestrator.errors import CancelledError, DeployError, OperationError
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.planner import Wanted, plan_apply
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Lifecycle
from orchestrator.state.session import DeploymentSession

DONE = OperationResult({"seen": True})


class FakeTime:
    """A clock that moves only when somebody waits, and what was waited."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.cancel_at_pause = 0

    def clock(self) -> float:
        return self.now

    def pause(self, cancel: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        if len(self.pauses) == self.cancel_at_pause:
            cancel.set()
            return True
        self.now += seconds
        return False

    def policy(self, draw: Callable[[], float] = lambda: 1.0, **settings: float) -> RetryPolicy:
        policy = RetryPolicy(clock=self.clock, pause=self.pause, draw=draw)
        return replace(policy, **settings)  # type: ignore[arg-type]


def passing(asked: float = 0.0) -> DeployError:
    return OperationError("No answer.", detail="edge-0 is away.").passing(asked)


class Attempts:
    """Fails with each of the errors in turn, then succeeds."""

    def __init__(self, time: FakeTime, *errors: DeployError, seconds: float = 0.0) -> None:
        self.time = time
        self.left = list(errors)
        self.seconds = seconds
        self.count = 0

    def __call__(self) -> OperationResult:
        self.count += 1
        self.time.now += self.seconds
        if self.left:
            raise self.left.pop(0)
        return DONE


def quiet(*_told: object) -> None:
    """Listens to nothing."""


def test_the_pauses_double_up_to_a_bound() -> None:
    time = FakeTime()
    attempts = Attempts(time, *(passing() for _ in range(7)))
    policy = time.policy(attempts=8, longest_pause=30.0)
    assert policy.run(attempts, threading.Event(), quiet) is DONE
    assert time.pauses == [1, 2, 4, 8, 16, 30, 30]


def test_what_failed_together_does_not_come_back_together() -> None:
    drawn = itertools.cycle((0.0, 0.25, 1.0))
    time = FakeTime()
    time.policy(lambda: next(drawn)).run(Attempts(time, *(passing() for _ in range(4))), threading.Event(), quiet)
    assert time.pauses == [0.5, 1.25, 4, 4]
    time = FakeTime()
    RetryPolicy(clock=time.clock, pause=time.pause).run(Attempts(time, passing()), threading.Event(), quiet)
    assert 0.5 <= time.pauses[0] <= 1.0


def test_what_does_not_pass_is_not_repeated() -> None:
    time = FakeTime()
    attempts = Attempts(time, OperationError("No such image."))
    with pytest.raises(OperationError, match=r"^No such image\.$"):
        time.policy().run(attempts, threading.Event(), quiet)
    assert (attempts.count, time.pauses) == (1, [])


def test_attempts_are_bounded_and_the_last_error_says_how_many_there_were() -> None:
    time = FakeTime()
    attempts = Attempts(time, *(passing() for _ in range(9)))
    with pytest.raises(OperationError, match=r"edge-0 is away\.\nTried 5 times within 15 s\.$") as caught:
        time.policy().run(attempts, threading.Event(), quiet)
    assert attempts.count == 5
    assert caught.value.summary == "No answer."


def test_the_time_is_bounded_with_what_attempts_take() -> None:
    time = FakeTime()
    attempts = Attempts(time, *(passing() for _ in range(9)), seconds=100)
    with pytest.raises(OperationError, match="Tried 3 times within 303 s"):
        time.policy(total=300.0).run(attempts, threading.Event(), quiet)


def test_a_pause_that_is_asked_for_is_not_cut_short() -> None:
    time = FakeTime()
    time.policy().run(Attempts(time, passing(45), passing(0.1)), threading.Event(), quiet)
    assert time.pauses == [45, 2]


def test_a_pause_that_is_longer_than_the_bound_is_not_begun() -> None:
    time = FakeTime()
    with pytest.raises(OperationError, match=r"Tried once within 0 s\. The other side asks to wait 3600 s\.$"):
        time.policy().run(Attempts(time, passing(3600)), threading.Event(), quiet)
    assert time.pauses == []


def test_a_pause_ends_at_once_with_the_run() -> None:
    cancel = threading.Event()
    cancel.set()
    attempts = Attempts(FakeTime(), passing(200))
    with pytest.raises(CancelledError, match="Was waiting 200 s to try again after: No answer"):
        RetryPolicy().run(attempts, cancel, quiet)
    assert attempts.count == 1


# --- through the engine, with the journal on disk


class World:
    """Executors whose objects are found by token; ``errors`` come first, for each address."""

    def __init__(self) -> None:
        self.errors: dict[str, list[DeployError]] = {}
        self.objects: dict[str, str] = {}
        self.pending_seen: list[str] = []
        self.folder = Path()

    def run(self, request: OperationRequest) -> OperationResult:
        pending = request.record.pending
        assert pending is not None
        durable = LocalStateStore(self.folder / "state").load()
        assert durable is not None
        on_disk = durable.instances[request.instance.address]
        assert on_disk.pending == pending, "what is being done must be durable at every attempt"
        self.pending_seen.append(pending.token)
        self.objects[pending.token] = request.instance.address
        if self.errors.get(request.instance.address):
            raise self.errors[request.instance.address].pop(0)
        return OperationResult()

    def observe(self, request: OperationRequest) -> Observation:
        there = request.instance.address in self.objects.values()
        return Observation(Presence.PRESENT if there else Presence.MISSING)


class Executors(ExecutorRegistry):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._loaded["fake"] = world


class Bed:
    """A deployment in a folder, with a clock that moves only when somebody waits."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.world.folder = self.folder = folder
        self.time = FakeTime()
        self.cancel = threading.Event()
        self.events: list[Event] = []

    def apply(self, *addresses: str, needs: Sequence[tuple[str, str]] = ()) -> Outcome:
        operations = {"create": Operation("create", "fake", "make")}
        wanted = {}
        for address in addresses:
            hosts = {"host": tuple(n for o, n in needs if o == address)}
            wanted[address] = DesiredInstance(
                address, address, "T", provider="fake", operations=operations, requirements=hosts
            )
        session = DeploymentSession(LocalStateStore(self.folder / "state"), "demo", make_lineage=lambda: "lineage")
        context = RunContext(
            tag=DeploymentTag("demo", "lineage"),
            run="run",
            folders=Folders(self.folder, self.folder, self.folder, self.folder),
            secrets=None,  # type: ignore[arg-type]
            desired=wanted,
            executors=Executors(self.world),
            cancel=self.cancel,
        )
        plan = plan_apply("demo", Wanted("local", wanted), session.state if session.state.serial else None, {})
        return apply_plan(plan, context, session, self.events.append, 4, retries=self.time.policy())

    def record(self, address: str) -> InstanceRecord:
        state = LocalStateStore(self.folder / "state").load()
        assert state is not None
        return state.instances[address]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_an_operation_is_repeated_with_the_same_token_and_told(bed: Bed) -> None:
    bed.world.errors = {"a": [passing(), passing(7)]}
    assert bed.apply("a").is_complete
    assert len(set(bed.world.pending_seen)) == 1
    assert len(bed.world.pending_seen) == 3
    assert bed.record("a").lifecycle is Lifecycle.STARTED
    assert bed.record("a").pending is None
    assert [type(e) for e in bed.events] == [ChangeStarted, ChangeRetrying, ChangeRetrying, ChangeFinished]
    told = [(e.attempt, e.of, e.seconds, e.error.summary) for e in bed.events if isinstance(e, ChangeRetrying)]
    assert told == [(2, 5, 1.0, "No answer."), (3, 5, 7.0, "No answer.")]


def test_one_that_stays_away_fails_alone_and_stays_pending(bed: Bed) -> None:
    bed.world.errors = {"a": [passing() for _ in range(9)]}
    outcome = bed.apply("a", "b", "c", needs=[("b", "a")])
    assert set(outcome.failed) == {"a"}
    assert outcome.skipped == {"b": "a"}
    assert set(outcome.done) == {"c"}
    assert bed.record("a").lifecycle is Lifecycle.ERROR
    assert bed.record("a").pending is not None
    bed.world.errors = {}
    assert bed.apply("a", "b", "c", needs=[("b", "a")]).is_complete
    assert len(set(bed.world.pending_seen)) == 3, "the object of the first run is the one that is gone on with"


def test_an_interruption_in_a_pause_leaves_everything_to_the_next_run(bed: Bed) -> None:
    bed.world.errors = {"a": [passing()]}
    bed.time.cancel_at_pause = 1
    outcome = bed.apply("a", "b", needs=[("b", "a")])
    assert outcome.skipped == {"a": "interrupted", "b": "interrupted"}
    assert not any(isinstance(e, ChangeFailed) for e in bed.events)
    assert sum(isinstance(e, ChangeSkipped) for e in bed.events) == 2
    assert bed.record("a").pending is not None
    bed.cancel.clear()
    assert bed.apply("a", "b", needs=[("b", "a")]).is_complete
    assert len(bed.world.objects) == 2
