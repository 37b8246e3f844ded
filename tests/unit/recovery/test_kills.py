"""Killed at every boundary, the next run finishes: nothing is lost, nothing is there twice, nothing is left over.

A boundary is a moment before or after a write to the state, and before or after every call to the outside. The program
is the real one from its services down; only what is outside is pretended, and the death of the process.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import pytest

from orchestrator.planning.actions import Action
from orchestrator.planning.plan import Plan
from orchestrator.planning.plan_file import SavedPlan
from orchestrator.planning.planner import Wanted, plan_destroy
from orchestrator.production.layout import ReadOptions
from orchestrator.services.apply import apply_saved
from orchestrator.services.deployment import open_for_reading, open_for_working
from orchestrator.services.destroy import destroy
from orchestrator.services.load import load_topology
from orchestrator.services.prepare import Target, prepare, want
from orchestrator.services.rollback import choose_version, finish_rollback, prepare_rollback
from orchestrator.state.journal import JournalEntry
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import State
from tests.unit.recovery.pretend import KilledError, World

NAME = "mask-detection-rehearsal"
CHANGES = Path(__file__).resolve().parents[2] / "golden" / "changes"
RECONFIGURATIONS = ("swapped-layers", "gathered-on-one-layer", "one-pi-more", "second-component-gone")
WIDTH = 3
"""How many changes run at the same time."""

Run = Callable[[], None]


@pytest.fixture(autouse=True)
def _state_is_a_boundary(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """The process can die before and after everything that the state store writes."""
    append, compact = LocalStateStore.append, LocalStateStore.compact

    def dying_append(self: LocalStateStore, entries: Sequence[JournalEntry]) -> None:
        world.pass_boundary(f"before entry {entries[0].serial}")
        append(self, entries)
        world.pass_boundary(f"after entry {entries[0].serial}")

    def dying_compact(self: LocalStateStore, state: State) -> None:
        world.pass_boundary("before a snapshot")
        compact(self, state)
        world.pass_boundary("after a snapshot")

    monkeypatch.setattr(LocalStateStore, "append", dying_append)
    monkeypatch.setattr(LocalStateStore, "compact", dying_compact)


class Deployment:
    """What is wanted, and the runs that bring it about as the commands do."""

    def __init__(self, application: Path) -> None:
        self.application = application
        self.target, self.wanted = self._read()

    def _read(self) -> tuple[Target, Wanted]:
        loaded = load_topology(self.application, ReadOptions())
        target = Target(loaded, "local", {"k3s": "standin"})
        return target, want(target)[0]

    def become(self, case: str) -> None:
        """From now on something else is wanted."""
        for file in (CHANGES / case).glob("*.yaml"):
            shutil.copy(file, self.application.parent)
        self.target, self.wanted = self._read()

    def apply(self) -> None:
        """``deploy apply``."""
        with open_for_working(NAME, "test", Event()) as opened:
            plan = prepare(self.target, opened, self.wanted)
            loaded = self.target.loaded
            saved = SavedPlan(plan, loaded.template_text, self.target.options, str(loaded.application_root))
            if not plan.is_empty:
                assert apply_saved(saved, opened, lambda _event: None, WIDTH).failure is None

    def destroy(self) -> None:
        """``deploy destroy``."""
        with open_for_working(NAME, "test", Event()) as opened:
            if opened.state is not None:
                destroy(plan_destroy(opened.state), opened, lambda _event: None, WIDTH)

    def rollback(self) -> None:
        """``deploy rollback --to 1``."""
        with open_for_working(NAME, "test", Event()) as opened:
            rollback = prepare_rollback(opened, choose_version(opened.session.state, 1))
            if not rollback.saved.plan.is_empty:
                assert apply_saved(rollback.saved, opened, lambda _event: None, WIDTH).failure is None
            finish_rollback(opened, rollback)

    def plan(self) -> Plan:
        """``deploy plan``."""
        return prepare(self.target, open_for_reading(NAME), self.wanted)


@pytest.fixture
def deployment(application: Path, world: World) -> Deployment:
    """The example with one board and one virtual machine."""
    text = application.read_text(encoding="utf-8")
    application.write_text(text.replace("totalNodes: 3", "totalNodes: 1"), encoding="utf-8")
    return Deployment(application)


def boundaries(run: Run, world: World) -> int:
    """How many boundaries a run passes that nobody kills."""
    world.revive()
    run()
    return len(world.log)


def killed(run: Run, world: World, at: int) -> bool:
    """Run and kill it at that boundary; whether it got that far. What it leaves holds up to a look."""
    world.revive(kill_at=at)
    try:
        run()
    except KilledError:
        check_nothing_doubled(world)
        return True
    finally:
        world.revive()
    return False


def check_nothing_doubled(world: World) -> None:
    """Never two machines for one address; the state can be read."""
    assert max(Counter(world.addresses("Machine")).values(), default=1) == 1
    open_for_reading(NAME)


def check_finished(deployment: Deployment, world: World) -> None:
    """Exactly what is wanted is there, and nothing is left to do."""
    assert world.addresses() == sorted(deployment.wanted.instances)
    assert deployment.plan().is_empty
    check_records(world)


def check_records(world: World) -> None:
    """Every record stands for one thing, and every thing has one."""
    records = open_for_reading(NAME).session.state.instances
    assert sorted(records) == world.addresses()
    assert all(r.pending is None and r.lifecycle.value == "started" for r in records.values())


def test_an_apply_killed_at_every_boundary(deployment: Deployment, world: World) -> None:
    """One process after the other: each gets one boundary further than the one before, until one is left alone."""
    kills = 0
    while killed(deployment.apply, world, kills):
        kills += 1
        assert kills < 500, "no run gets any further"
    assert kills > 15
    check_finished(deployment, world)


def test_every_single_kill_of_an_apply_is_mended_by_one_more(deployment: Deployment, world: World) -> None:
    """From nothing each time: killed once, then left alone, then removed."""
    total = boundaries(deployment.apply, world)
    check_finished(deployment, world)
    deployment.destroy()
    for at in range(0, total, 5):
        assert killed(deployment.apply, world, at), at
        deployment.apply()
        check_finished(deployment, world)
        deployment.destroy()
        assert world.things == {}


@pytest.mark.parametrize("case", RECONFIGURATIONS)
def test_a_reconfiguration_killed_at_every_boundary(deployment: Deployment, world: World, case: str) -> None:
    """Among them moves, where two services of one component exist for a while, on two hosts."""
    deployment.apply()
    deployment.become(case)
    kills = 0
    while killed(deployment.apply, world, kills):
        kills += 1
        assert kills < 500, "no run gets any further"
    check_finished(deployment, world)


def test_the_reconfigurations_hold_moves(deployment: Deployment) -> None:
    """Else the test above would prove less than it says."""
    deployment.apply()
    deployment.become("swapped-layers")
    assert Action.MOVE in deployment.plan().counts()


def test_a_rollback_killed_at_every_boundary(deployment: Deployment, world: World) -> None:
    deployment.apply()
    before = sorted(deployment.wanted.instances)
    deployment.become("swapped-layers")
    deployment.apply()
    kills = 0
    while killed(deployment.rollback, world, kills):
        kills += 1
        assert kills < 500, "no run gets any further"
    assert kills > 5
    assert world.addresses() == before
    check_records(world)
    assert open_for_reading(NAME).session.state.versions[-1].number == 3


def test_a_destroy_killed_at_every_boundary(deployment: Deployment, world: World) -> None:
    deployment.apply()
    kills = 0
    while killed(deployment.destroy, world, kills):
        kills += 1
        assert kills < 500, "no run gets any further"
    assert kills > 5
    assert world.things == {}
    assert open_for_reading(NAME).state is None


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_random_while_the_wish_changes(deployment: Deployment, world: World, seed: int) -> None:
    """Apply, become something else, roll back, destroy: in any order, each killed anywhere; then left alone."""
    draw = random.Random(seed)
    for _ in range(12):
        step = draw.choice(("apply", "apply", "become", "destroy"))
        if step == "become":
            deployment.become(draw.choice(RECONFIGURATIONS))
        else:
            killed(getattr(deployment, step), world, draw.randrange(60))
    deployment.apply()
    check_finished(deployment, world)
    deployment.destroy()
    assert world.things == {}
