"""What cannot be reached is done without, said so, and completed by a later apply."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli.views.failure import explain
from orchestrator.engine.apply import Outcome, apply_plan, failure_of
from orchestrator.engine.hooks import ChangeFinished, Event
from orchestrator.engine.limits import NO_LIMIT, Limit, Limits
from orchestrator.engine.operations import RunContext
from orchestrator.engine.refresh import refresh
from orchestrator.errors import ApplyFailedError, DegradedError, RemoteError
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.planner import Wanted, plan_apply, plan_destroy
from orchestrator.providers.base import DeploymentTag
from orchestrator.providers.registry import parallel_limit
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import Value
from orchestrator.state.session import DeploymentSession

PLAY = "continuum.artifacts.AnsiblePlaybook"
SERVICE = "continuum.artifacts.OscarService"


def machine(index: int) -> DesiredInstance:
    operations = {"create": Operation("create", "machine", "machine")}
    return DesiredInstance(f"pi[{index}]", "pi", "M", index=index, provider="fake", operations=operations)


MACHINES = tuple(machine(index) for index in range(3))
CLUSTER = DesiredInstance(
    "k3s",
    "k3s",
    "K",
    requirements={"machine": tuple(m.address for m in MACHINES)},
    operations={"configure": Operation("configure", "play", "site.yml")},
)
SERVICES = tuple(
    DesiredInstance(
        name,
        name,
        "S",
        requirements={"host": ("k3s",)},
        operations={"create": Operation("create", "play", "archive.yml")},
    )
    for name in ("detector", "blurrer")
)
WANTED = Wanted("local", {i.address: i for i in (*MACHINES, CLUSTER, *SERVICES)})


class World:
    """Machines that are ``away`` refuse to be made ready; plays over them leave them out, as real ones do."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.made: set[str] = set()
        self.because: dict[str, Value] = {}

    def run(self, request: OperationRequest) -> OperationResult:
        address = request.instance.address
        if request.implementation.artifact_type == "machine":
            if address in self.away:
                raise RemoteError("A machine cannot be reached.", detail=f"SSH to {address}: no answer.")
            self.made.add(address)
            return OperationResult({"host": "10.0.0.2"})
        degraded: list[Value] = [*sorted(self.away)]
        known = request.record.attributes.get("degraded")
        found: dict[str, Value] = {"degraded": degraded} if degraded or known else {}
        return OperationResult(found | ({"degraded_because": self.because} if self.because else {}))

    def observe(self, request: OperationRequest) -> Observation:
        return Observation(Presence.PRESENT)


class Executors(ExecutorRegistry):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._loaded.update(machine=world, play=world)


class Bed:
    """A deployment in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World()
        self.events: list[Event] = []

    def open(self) -> tuple[RunContext, DeploymentSession]:
        session = DeploymentSession(LocalStateStore(self.folder / "state"), "demo", make_lineage=lambda: "lineage")
        context = RunContext(
            tag=DeploymentTag("demo", "lineage"),
            run="run",
            folders=Folders(self.folder, self.folder, self.folder, self.folder),
            secrets=None,  # type: ignore[arg-type]
            desired=WANTED.instances,
            executors=Executors(self.world),
            cancel=threading.Event(),
        )
        return context, session

    def plan(self) -> Plan:
        context, session = self.open()
        state = session.state if session.state.serial else None
        return plan_apply("demo", WANTED, state, refresh(context, state.instances) if state else {})

    def apply(self) -> Outcome:
        plan = self.plan()
        context, session = self.open()
        return apply_plan(plan, context, session, self.events.append)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_a_cluster_comes_up_without_an_agent_and_a_later_apply_completes_it(bed: Bed) -> None:
    bed.world.away = {"pi[2]"}
    outcome = bed.apply()
    assert set(outcome.done) == {"pi[0]", "pi[1]", "k3s", "detector", "blurrer"}
    assert set(outcome.failed) == {"pi[2]"}
    assert outcome.skipped == {}
    assert outcome.degraded == dict.fromkeys(("k3s", "detector", "blurrer"), ("pi[2]",))
    assert not outcome.is_complete
    told = {e.change.address: e.degraded for e in bed.events if isinstance(e, ChangeFinished)}
    assert told == {"pi[0]": (), "pi[1]": ()} | dict.fromkeys(("k3s", "detector", "blurrer"), ("pi[2]",))
    failure = failure_of(outcome, cancelled=False)
    assert isinstance(failure, ApplyFailedError)
    assert "SSH to pi[2]: no answer." in failure.detail
    assert "k3s does without pi[2]" in failure.detail

    plan = bed.plan()
    for address in ("k3s", "detector", "blurrer"):
        change = plan.changes[address]
        assert change.action is Action.UPDATE
        assert "pi[2] could not be reached when it was last applied" in change.reasons
    assert plan.changes["pi[0]"].is_noop

    bed.world.away = set()
    outcome = bed.apply()
    assert outcome.is_complete
    assert bed.world.made == {"pi[0]", "pi[1]", "pi[2]"}
    assert bed.plan().is_empty


def test_one_that_goes_away_later_leaves_it_degraded_and_the_exit_code_says_so(bed: Bed) -> None:
    assert bed.apply().is_complete
    context, session = bed.open()
    bed.world.away = {"pi[1]"}
    update = Change("k3s", "K", Action.UPDATE, ("asked for",), CLUSTER)
    outcome = apply_plan(Plan("demo", "lineage", 1, "local", {"k3s": update}), context, session, bed.events.append)
    assert not outcome.failed
    failure = failure_of(outcome, cancelled=False)
    assert isinstance(failure, DegradedError)
    assert failure.exit_code == 1
    assert failure.detail == "k3s does without pi[1]\nThese could not be reached; all else was done."
    assert bed.plan().changes["k3s"].reasons == ("pi[1] could not be reached when it was last applied",)
    bed.world.away = set()
    assert bed.apply().is_complete
    assert bed.plan().is_empty


def test_why_it_is_away_is_told_where_it_is_known(bed: Bed) -> None:
    assert bed.apply().is_complete
    context, session = bed.open()
    bed.world.away = {"pi[1]", "pi[2]"}
    bed.world.because = {"pi[2]": "did not come back from its reboot within 300 s"}
    update = Change("k3s", "K", Action.UPDATE, ("asked for",), CLUSTER)
    outcome = apply_plan(Plan("demo", "lineage", 1, "local", {"k3s": update}), context, session, bed.events.append)
    failure = failure_of(outcome, cancelled=False)
    assert isinstance(failure, DegradedError)
    told = "k3s does without pi[1], pi[2] (did not come back from its reboot within 300 s)"
    assert failure.detail.splitlines()[0] == told
    with_others = ApplyFailedError(
        "1 change failed.",
        failed={"x": RemoteError("It broke.")},
        degraded=failure.degraded,
        causes=failure.causes,
    )
    explain(with_others, {}, "deploy apply")
    assert f"! {told}" in with_others.detail.splitlines()


def test_what_is_taken_down_is_not_degraded(bed: Bed) -> None:
    bed.world.away = {"pi[2]"}
    bed.apply()
    context, session = bed.open()
    outcome = apply_plan(plan_destroy(session.state), replace(context, desired={}), session, bed.events.append)
    assert outcome.is_complete
    assert session.state.instances == {}


def test_without_its_server_there_is_no_cluster(bed: Bed) -> None:
    bed.world.away = {"pi[0]"}
    outcome = bed.apply()
    assert set(outcome.failed) == {"pi[0]"}
    assert outcome.skipped == {"k3s": "pi[0]", "detector": "k3s", "blurrer": "k3s"}
    bed.world.away = set()
    assert bed.apply().is_complete


def test_a_machine_counts_against_its_provider_and_a_play_against_this_computer() -> None:
    limits = Limits(ExecutorRegistry())

    def limit(instance: DesiredInstance, action: Action = Action.CREATE) -> Limit:
        return limits.of(Change(instance.address, instance.type, action, ("because",), instance))

    local = DesiredInstance("pi[0]", "pi", "M", provider="local", operations={"create": Operation("create", "x", "x")})
    assert limit(local) == Limit("provider local", parallel_limit("local"))
    assert limit(local, Action.FORGET) is NO_LIMIT
    play = Operation("create", PLAY, "image_archive.yml")
    service = DesiredInstance("s", "s", "S", operations={"create": play, "configure": Operation("c", SERVICE, "")})
    assert limit(service) == Limit(PLAY, 10), "the tightest limit of its operations counts"
    request = DesiredInstance("s", "s", "S", operations={"configure": Operation("configure", SERVICE, "")})
    assert limit(request) is NO_LIMIT
    assert limit(DesiredInstance("n", "n", "N")) is NO_LIMIT
