"""The walk: order, parallel work, failures, interruption, and a kill at every durable step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.apply import Outcome, apply_plan, failure_of
from orchestrator.engine.hooks import ChangeFinished, ChangeStarted, Event
from orchestrator.engine.operations import RunContext, creation_token
from orchestrator.engine.refresh import combine, refresh
from orchestrator.errors import ApplyFailedError, CancelledError, OperationError
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.planner import Wanted, plan_apply, plan_destroy
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.document_file import FileDocument
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Lifecycle
from orchestrator.state.secret_keys import find_keys
from orchestrator.state.secret_store import SealedSecretStore
from orchestrator.state.session import DeploymentSession

MAKE = Operation("create", "fake", "make")
SET_UP = Operation("configure", "fake", "set-up")


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the program does on errors may run for it."""


class FakeWorld:
    """A provider and its executor in one: objects by token, as an infrastructure API would keep them."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[OperationRequest], None] = lambda _request: None
        self.guard = threading.Lock()

    def run(self, request: OperationRequest) -> OperationResult:
        self.before(request)
        with self.guard:
            self.calls.append((request.instance.address, request.operation))
            pending = request.record.pending
            assert pending is not None
            if request.operation == "create":
                self.objects.setdefault(pending.token, request.instance.address)
            if request.operation == "delete":
                for token in [t for t, a in self.objects.items() if a == request.instance.address]:
                    del self.objects[token]
        return OperationResult({"seen": request.operation})

    def observe(self, request: OperationRequest) -> Observation:
        with self.guard:
            there = request.instance.address in self.objects.values()
        return Observation(Presence.PRESENT if there else Presence.MISSING)


class FakeExecutors(ExecutorRegistry):
    def __init__(self, world: FakeWorld) -> None:
        super().__init__()
        self._loaded["fake"] = world


def instance(address: str, *needs: str, operations: tuple[Operation, ...] = (MAKE, SET_UP)) -> DesiredInstance:
    return DesiredInstance(
        address,
        address,
        "Type",
        provider="fake",
        requirements={"host": needs} if needs else {},
        operations={o.name: o for o in operations} | {"delete": Operation("delete", "fake", "remove")},
    )


CHAIN = Wanted("local", {i.address: i for i in (instance("a"), instance("b", "a"), instance("c", "b"), instance("x"))})


class Bed:
    """One deployment in a folder of its own, and the outside world it works on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = FakeWorld()
        self.cancel = threading.Event()
        self.events: list[Event] = []

    def session(self) -> DeploymentSession:
        return DeploymentSession(LocalStateStore(self.folder / "state"), "demo", make_lineage=lambda: "lineage")

    def context(self, wanted: Wanted = CHAIN) -> RunContext:
        return RunContext(
            tag=DeploymentTag("demo", "lineage"),
            run="run",
            folders=Folders(self.folder, self.folder, self.folder, self.folder),
            secrets=SealedSecretStore(FileDocument(self.folder / "secrets.json"), "demo", find_keys()),
            desired=wanted.instances,
            executors=FakeExecutors(self.world),
            cancel=self.cancel,
        )

    def apply(self, wanted: Wanted = CHAIN, parallelism: int = 4) -> Outcome:
        session = self.session()
        state = session.state if session.state.serial else None
        context = self.context(wanted)
        observed = refresh(context, state.instances) if state else {}
        plan = plan_apply("demo", wanted, state, observed)
        return apply_plan(plan, context, session, self.events.append, parallelism)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_everything_is_made_in_order_and_recorded_as_started(bed: Bed) -> None:
    outcome = bed.apply()
    assert outcome.is_complete
    order = [address for address, operation in bed.world.calls if operation == "create"]
    assert order.index("a") < order.index("b") < order.index("c")
    records = bed.session().state.instances
    assert {r.lifecycle for r in records.values()} == {Lifecycle.STARTED}
    assert all(r.pending is None and r.attributes == {"seen": "configure"} for r in records.values())


def test_a_second_apply_calls_nothing(bed: Bed) -> None:
    bed.apply()
    bed.world.calls.clear()
    assert bed.apply().done == {}
    assert bed.world.calls == []


def test_independent_changes_run_at_the_same_time_and_no_more_than_allowed(bed: Bed) -> None:
    together = threading.Barrier(2, timeout=5)
    bed.world.before = lambda request: (together.wait(), None)[1] if request.operation == "create" else None
    pair = Wanted("local", {i.address: i for i in (instance("a"), instance("b"))})
    assert bed.apply(pair, parallelism=2).is_complete

    running, most = 0, 0
    guard = threading.Lock()

    def count(_request: OperationRequest) -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with guard:
            running -= 1

    bed.world.before = count
    many = Wanted("local", {i.address: i for i in (instance(f"n{n}") for n in range(12))})
    assert bed.apply(many, parallelism=3).is_complete
    assert most <= 3


def test_machines_of_a_provider_are_bounded_by_it_and_others_go_on(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.providers.local.provider.LocalProvider.max_parallel", 2)
    machines = [replace(instance(f"m{n}"), provider="local") for n in range(12)]
    others = [instance(f"n{n}") for n in range(6)]
    running: set[str] = set()
    most = 0
    guard = threading.Lock()
    others_are_through = threading.Barrier(len(others) + 1, timeout=5)

    def watch(request: OperationRequest) -> None:
        nonlocal most
        address = request.instance.address
        if address.startswith("n") and request.operation == "create":
            others_are_through.wait()
            return
        if address == "m0" and request.operation == "create":
            # Held up until every other one has been started: the provider's being busy must not keep them.
            others_are_through.wait()
        with guard:
            running.add(address)
            most = max(most, sum(a.startswith("m") for a in running))
        time.sleep(0.001)
        with guard:
            running.discard(address)

    bed.world.before = watch
    wanted = Wanted("local", {i.address: i for i in (*machines, *others)})
    assert bed.apply(wanted, parallelism=len(others) + 2).is_complete
    assert most == 2


def test_a_failure_stops_its_dependants_only_and_all_failures_are_told(bed: Bed) -> None:
    def fail(request: OperationRequest) -> None:
        if request.instance.address in ("b", "x"):
            raise OperationError("It broke.", detail=f"{request.instance.address} is broken.")

    bed.world.before = fail
    outcome = bed.apply()
    assert set(outcome.done) == {"a"}
    assert set(outcome.failed) == {"b", "x"}
    assert outcome.skipped == {"c": "b"}
    failure = failure_of(outcome, cancelled=False)
    assert isinstance(failure, ApplyFailedError)
    assert "b is broken." in failure.detail
    assert "x is broken." in failure.detail
    assert bed.session().state.instances["b"].lifecycle is Lifecycle.ERROR

    bed.world.before = lambda _request: None
    assert bed.apply().is_complete
    assert sorted(bed.world.objects.values()) == ["a", "b", "c", "x"]


def test_an_interruption_finishes_what_runs_and_leaves_the_rest(bed: Bed) -> None:
    bed.world.before = lambda _request: bed.cancel.set()
    outcome = bed.apply(parallelism=1)
    assert set(outcome.done) == {"a"}
    assert set(outcome.skipped.values()) == {"interrupted"}
    assert isinstance(failure_of(outcome, cancelled=True), CancelledError)
    bed.cancel.clear()
    bed.world.before = lambda _request: None
    assert bed.apply().is_complete


def test_events_tell_the_story_in_order(bed: Bed) -> None:
    bed.apply(Wanted("local", {"a": instance("a")}))
    assert [type(e) for e in bed.events] == [ChangeStarted, ChangeFinished]


@pytest.mark.parametrize("moment", range(12))
def test_a_kill_at_any_durable_step_loses_and_doubles_nothing(bed: Bed, moment: int) -> None:
    """The store dies after ``moment`` more entries, before or after the outside call that belongs to them."""
    session = bed.session()
    written = 0
    real = session.record

    def record(instance_record: InstanceRecord) -> None:
        nonlocal written
        if written >= moment:
            raise Killed
        real(instance_record)
        written += 1

    session.record = record  # type: ignore[method-assign]
    plan = plan_apply("demo", CHAIN, None, {})
    with pytest.raises(Killed):
        apply_plan(plan, bed.context(), session, bed.events.append, 1)

    assert bed.apply().is_complete
    assert sorted(bed.world.objects.values()) == ["a", "b", "c", "x"]
    assert bed.apply().done == {}


def test_a_lost_object_is_made_anew_under_the_next_generation(bed: Bed) -> None:
    bed.apply()
    first = creation_token("lineage", "a", 1)
    del bed.world.objects[first]
    bed.apply()
    assert bed.session().state.instances["a"].generation == 2
    assert creation_token("lineage", "a", 2) in bed.world.objects
    assert first not in bed.world.objects


def test_destroy_removes_all_in_reverse(bed: Bed) -> None:
    bed.apply()
    bed.world.calls.clear()
    session = bed.session()
    outcome = apply_plan(plan_destroy(session.state), bed.context(Wanted("local", {})), session, bed.events.append)
    assert outcome.is_complete
    assert bed.world.objects == {}
    deleted = [address for address, _ in bed.world.calls]
    assert deleted.index("c") < deleted.index("b") < deleted.index("a")
    assert session.state.instances == {}


def test_replace_removes_the_old_object_and_makes_a_new_one(bed: Bed) -> None:
    only_whole = instance("a", operations=(MAKE,))
    bed.apply(Wanted("local", {"a": only_whole}))
    bed.apply(Wanted("local", {"a": replace(only_whole, properties={"size": 2})}))
    assert list(bed.world.objects) == [creation_token("lineage", "a", 2)]


def test_the_worst_look_counts() -> None:
    seen = [Observation(Presence.PRESENT), Observation(Presence.UNKNOWN), Observation(Presence.DEGRADED, "slow")]
    assert combine(seen) == Observation(Presence.DEGRADED, "slow")
    assert combine([]).presence is Presence.UNKNOWN


def test_what_moves_is_removed_from_where_it_was_made(bed: Bed) -> None:
    hosts = (instance("old"), instance("new"))
    service = replace(instance("s", "old", operations=(SET_UP,)), provider="")
    bed.apply(Wanted("local", {i.address: i for i in (*hosts, service)}))
    removed_from: list[tuple[str, ...]] = []

    def look(request: OperationRequest) -> None:
        if request.operation == "delete":
            removed_from.append(request.instance.requirements["host"])

    bed.world.before = look
    bed.world.objects["s"] = "s"
    moved = replace(service, requirements={"host": ("new",)})
    assert bed.apply(Wanted("local", {i.address: i for i in (*hosts, moved)})).is_complete
    assert removed_from == [("old",)]
    records = bed.session().state.instances
    assert (records["s"].dependencies, records["s"].generation, records["s"].wired) == (("new",), 2, {"new": 1})
    assert "s@1" not in records
