"""Any topology becomes any other: in order, with nothing pulled away from under something at work, and after any cut.

The plan is the planner's and the steps are the engine's own; the outside world is a few dictionaries.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.operations import RunContext, perform
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.actions import REMOVALS, Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.planner import Wanted, plan_apply, plan_destroy, plan_refresh
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.former import newest_former
from orchestrator.state.model import InstanceRecord, Lifecycle, State
from orchestrator.state.secrets import SecretStore

SET_UP = Operation("configure", "fake", "set-up")
REMOVE = Operation("delete", "fake", "remove")
OPERATIONS = {"configure": SET_UP, "delete": REMOVE}
MAKING = {"create": Operation("create", "fake", "make"), "delete": REMOVE}


class Killed(BaseException):
    """Stands for SIGKILL."""


@dataclass(frozen=True)
class Service:
    """One service of a topology to draw: where it runs, where its results go, what it is made from."""

    host: int
    targets: tuple[int, ...] = ()
    memory: int = 1
    image: int = 1


def topology(services: Mapping[int, Service], disposable: Mapping[int, bool] | None = None) -> Wanted:
    """A machine and a platform for every host that is used, an image for every service."""
    found: list[DesiredInstance] = []
    for host in sorted({s.host for s in services.values()}):
        found.append(
            DesiredInstance(
                f"machine{host}",
                f"machine{host}",
                "Machine",
                provider="local",
                disposable=(disposable or {}).get(host, True),
                operations=MAKING,
            )
        )
        machine = {"machine": (f"machine{host}",)}
        found.append(DesiredInstance(f"host{host}", f"host{host}", "Host", requirements=machine, operations=OPERATIONS))
    for number, service in services.items():
        image = DesiredInstance(
            f"image{number}", f"image{number}", "Image", properties={"tag": service.image}, operations=MAKING
        )
        targets = tuple(f"service{t}" for t in service.targets if t in services)
        found += [
            image,
            DesiredInstance(
                f"service{number}",
                f"service{number}",
                "Service",
                properties={"component": f"c{number}", "layer": service.host, "memory": service.memory},
                requirements={"host": (f"host{service.host}",), "image": (image.address,)}
                | ({"connects_to": targets} if targets else {}),
                operations=OPERATIONS,
            ),
        ]
    return Wanted("local", {i.address: i for i in found})


@st.composite
def topologies(draw: st.DrawFn) -> Wanted:
    """Up to five services on up to three hosts, wired without a circle, up or down by their numbers."""
    numbers = draw(st.sets(st.integers(0, 4), max_size=5))
    is_upward = draw(st.booleans())
    services = {
        n: Service(
            host=draw(st.integers(1, 3)),
            targets=tuple(
                sorted(draw(st.sets(st.integers(n + 1, 5) if is_upward else st.integers(-1, n - 1), max_size=2)))
            ),
            memory=draw(st.integers(1, 2)),
            image=draw(st.integers(1, 2)),
        )
        for n in sorted(numbers)
    }
    return topology(services, {2: False})


def _key(record: InstanceRecord) -> tuple[str, str]:
    """By what a platform knows a service: the platform, and the name there."""
    return (str(cast("list[object]", record.inputs["requirements.host"])[0]), record.node)


class World:
    """What is outside: machines, platforms and images by address; services by platform and name, with their targets."""

    def __init__(self) -> None:
        self.things: dict[str, object] = {}
        self.services: dict[tuple[str, str], frozenset[tuple[str, str]]] = {}
        self.versions: dict[tuple[str, str], tuple[object, object]] = {}
        self.state = State("d", "l")

    def _senders(self, key: tuple[str, str]) -> list[tuple[str, str]]:
        """Services that send there, besides those that are only left until their machine goes."""
        recorded = [r for r in self.state.instances.values() if r.type == "Service"]
        # Of several records of one object the latest stands for it.
        latest = {_key(r): r for r in sorted(recorded, key=lambda r: r.generation)}
        kept = {k for k, r in latest.items() if r.pending is None or r.pending.action != "forget"}
        return [k for k, targets in self.services.items() if key in targets and k in kept and k != key]

    def run(self, request: OperationRequest) -> OperationResult:
        instance = request.instance
        if instance.type != "Service":
            return self._thing(request)
        key = (instance.requirements["host"][0], instance.node)
        if request.operation == "delete":
            assert not self._senders(key), f"{key} is removed while {self._senders(key)} send to it"
            self.services.pop(key, None)
            return OperationResult()
        assert key[0] in self.things, f"{key} has no host"
        targets = frozenset(_key(r) for r in request.requirement_targets("connects_to"))
        assert len(targets) == len(instance.requirements.get("connects_to", ()))
        assert targets <= self.services.keys(), f"{key} is wired to what is not there"
        (image,) = request.requirement_targets("image")
        self.services[key] = targets
        self.versions[key] = (instance.properties["memory"], image.inputs["properties.tag"])
        return OperationResult({"image": image.address})

    def _thing(self, request: OperationRequest) -> OperationResult:
        instance = request.instance
        needs = [a for targets in instance.requirements.values() for a in targets]
        if request.operation == "delete":
            self._drop(instance.address)
        else:
            assert set(needs) <= self.things.keys(), f"{instance.address} has no {needs}"
            self.things[instance.address] = dict(instance.properties)
        return OperationResult()

    def _drop(self, address: str) -> None:
        """A machine goes with all that is on it; nothing elsewhere may send there any longer."""
        gone = {address, address.replace("machine", "host")} if address.startswith("machine") else {address}
        for key in [k for k in self.services if k[0] in gone]:
            assert not self._senders(key), f"the host of {key} goes while {self._senders(key)} send to it"
            del self.services[key]
        for name in gone:
            self.things.pop(name, None)

    def observe(self, record: InstanceRecord) -> Observation:
        """Whether it is there where it is recorded."""
        there = _key(record) in self.services if record.type == "Service" else record.address in self.things
        return Observation(Presence.PRESENT if there else Presence.MISSING)


class Executors(ExecutorRegistry):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._loaded["fake"] = world


class Writer:
    """A state in memory that kills the run after so many steps."""

    def __init__(self, state: State, steps: int | None, world: World) -> None:
        self.state = state
        self._world = world
        self._left = count(steps, -1) if steps is not None else count(1_000_000, -1)

    def record(self, record: InstanceRecord) -> None:
        self._step(self.state.with_instance(record))

    def remove(self, address: str) -> None:
        if address in self.state.instances:
            self._step(self.state.without_instance(address))

    def _step(self, state: State) -> None:
        if next(self._left) <= 0:
            raise Killed
        self.state = self._world.state = replace(state, serial=state.serial + 1)


@dataclass
class Bed:
    """A deployment and the world around it."""

    world: World
    state: State
    looks: bool = True

    def plan(self, wanted: Wanted) -> Plan:
        seen = {a: self.world.observe(r) for a, r in self.state.instances.items()} if self.looks else {}
        return plan_apply("d", wanted, self.state, seen)

    def apply(self, wanted: Wanted, order: random.Random, steps: int | None = None) -> Plan:
        """Plan and do it in any order that the plan allows; cut off after so many durable steps."""
        plan = self.plan(wanted)
        self.do(plan, order, steps)
        return plan

    def do(self, plan: Plan, order: random.Random, steps: int | None = None) -> None:
        writer = Writer(self.state, steps, self.world)
        desired = {a: c.instance for a, c in plan.changes.items() if c.action not in REMOVALS}
        folders = Folders(Path(), Path(), Path(), Path())
        context = RunContext(
            DeploymentTag("d", "l"),
            "run",
            folders,
            cast("SecretStore", None),
            desired,
            Executors(self.world),
            threading.Event(),
            newest_former=newest_former(self.state.instances),
        )
        settled = {a for a, c in plan.changes.items() if c.is_noop}
        waiting = [c for c in plan.changes.values() if not c.is_noop]
        try:
            while waiting:
                change = order.choice([c for c in waiting if settled.issuperset(c.after)])
                perform(change, context, writer, lambda _message: None)
                waiting.remove(change)
                settled.add(change.address)
        except Killed:
            pass
        finally:
            self.state = writer.state


def bed(*, looks: bool = True) -> Bed:
    return Bed(World(), State("d", "l", 1), looks)


def check_is_as_wanted(found: Bed, wanted: Wanted) -> None:
    """State and world hold what is wanted and nothing else, and the next plan is empty."""
    assert {a: r.inputs for a, r in found.state.instances.items()} == {a: i.inputs for a, i in wanted.instances.items()}
    assert all(r.lifecycle is Lifecycle.STARTED and r.pending is None for r in found.state.instances.values())
    services = [i for i in wanted.instances.values() if i.type == "Service"]
    host_of = {i.node: i.requirements["host"][0] for i in services}
    assert found.world.services == {
        (host_of[i.node], i.node): frozenset((host_of[t], t) for t in i.requirements.get("connects_to", ()))
        for i in services
    }
    for service in services:
        tag = wanted.instances[service.requirements["image"][0]].properties["tag"]
        assert found.world.versions[host_of[service.node], service.node] == (service.properties["memory"], tag)
    assert set(found.world.things) == {i.address for i in wanted.instances.values() if i.type != "Service"}
    again = found.plan(wanted)
    assert again.is_empty, [c for c in again.changes.values() if not c.is_noop]


def check_order(plan: Plan) -> None:
    """Everything comes after what it waits for, and says why it is done."""
    position = {address: i for i, address in enumerate(plan.changes)}
    assert all(position[a] < position[c.address] for c in plan.changes.values() for a in c.after)
    assert all(c.reasons for c in plan.changes.values())


@settings(deadline=None, max_examples=150)
@given(topologies(), topologies(), st.booleans(), st.randoms(use_true_random=False))
def test_any_topology_becomes_any_other(before: Wanted, after: Wanted, looks: bool, order: random.Random) -> None:
    found = bed(looks=looks)
    for wanted in (before, after):
        check_order(found.apply(wanted, order))
        check_is_as_wanted(found, wanted)


@settings(deadline=None, max_examples=250)
@given(
    st.lists(topologies(), min_size=2, max_size=3),
    st.lists(st.integers(0, 60), min_size=1, max_size=3),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_run_cut_off_anywhere_is_finished_by_the_next_whatever_that_one_wants(
    wishes: list[Wanted], cuts: list[int], looks: bool, order: random.Random
) -> None:
    found = bed(looks=looks)
    found.apply(wishes[0], order)
    for position, steps in enumerate(cuts):
        found.apply(wishes[(position + 1) % len(wishes)], order, steps)
    for wanted in (wishes[-1], wishes[0]):
        check_order(found.apply(wanted, order))
        check_is_as_wanted(found, wanted)


@settings(deadline=None, max_examples=100)
@given(topologies(), topologies(), st.integers(0, 60), st.randoms(use_true_random=False))
def test_a_destroy_leaves_nothing_after_any_cut(
    before: Wanted, after: Wanted, steps: int, order: random.Random
) -> None:
    found = bed()
    found.apply(before, order)
    found.apply(after, order, steps)
    found.do(plan_destroy(found.state), order, steps)
    found.do(plan_destroy(found.state), order)
    assert not found.state.instances
    assert not found.world.services
    assert not {name for name in found.world.things if not name.startswith("host2")}


CHAIN = {0: Service(1, (1,)), 1: Service(2)}
MOVED = {0: Service(1, (1,)), 1: Service(3)}


@pytest.mark.parametrize("steps", range(18))
def test_a_move_cut_off_at_any_step_neither_loses_nor_doubles(steps: int) -> None:
    found = bed(looks=False)
    order = random.Random(1)
    found.apply(topology(CHAIN), order)
    found.apply(topology(MOVED), order, steps)
    assert {("host2", "service1"), ("host3", "service1")} & found.world.services.keys()
    found.apply(topology(MOVED), order)
    check_is_as_wanted(found, topology(MOVED))


@pytest.mark.parametrize("steps", range(18))
def test_a_move_taken_back_half_way_keeps_what_was_there(steps: int) -> None:
    found = bed(looks=False)
    order = random.Random(1)
    found.apply(topology(CHAIN), order)
    found.apply(topology(MOVED), order, steps)
    found.apply(topology(CHAIN), order)
    check_is_as_wanted(found, topology(CHAIN))


@pytest.mark.parametrize("steps", range(1, 8))
def test_what_was_let_go_and_is_wanted_elsewhere_again_keeps_nothing_from_being_made_anew(steps: int) -> None:
    """Its old object goes with its machine; what it sent to may be removed meanwhile, which had begun already."""
    before, after = {0: Service(1), 3: Service(3, (4,)), 4: Service(2)}, {0: Service(1), 3: Service(1), 4: Service(2)}
    for seed in range(40):
        found = bed(looks=False)
        order = random.Random(seed)
        found.apply(topology(before, {2: False}), order)
        found.apply(topology({}), order, steps)
        found.apply(topology(after, {2: False}), order)
        check_is_as_wanted(found, topology(after, {2: False}))


def test_what_comes_again_while_a_former_instance_is_left_takes_none_of_its_numbers() -> None:
    found = bed(looks=False)
    order = random.Random(1)

    def wanted(host: int) -> Wanted:
        here = {4: Service(host)} if host else {}
        return topology({0: Service(1), 1: Service(2), 2: Service(3)} | here)

    found.apply(wanted(1), order)
    for host in (3, 0, 2):  # each run is cut off right after the service itself
        plan = found.plan(wanted(host))
        done = {a: c for a, c in plan.changes.items() if c.is_noop or a == "service4"}
        found.do(replace(plan, changes=done), order)
    found.apply(wanted(3), order)
    check_is_as_wanted(found, wanted(3))


@pytest.mark.parametrize("seed", range(10))
def test_wiring_that_was_turned_round_by_a_run_that_was_cut_off_can_be_removed(seed: int) -> None:
    for steps in range(20):
        found = bed(looks=False)
        order = random.Random(seed)
        found.apply(topology({0: Service(3, (2,)), 2: Service(3)}), order)
        found.apply(topology({0: Service(1), 2: Service(3, (0,))}), order, steps)
        found.apply(topology({0: Service(2)}), order)
        check_is_as_wanted(found, topology({0: Service(2)}))


def test_neighbours_are_rewired_by_the_next_run_when_one_was_cut_off_in_between() -> None:
    found = bed(looks=False)
    order = random.Random(1)
    found.apply(topology(CHAIN), order)
    plan = found.plan(topology(MOVED))
    first = {"machine3", "host3", "service1"}
    only_move = replace(plan, changes={a: c for a, c in plan.changes.items() if c.is_noop or a in first})
    found.do(only_move, order)
    again = found.plan(topology(MOVED))
    assert changed(again)["service0"] == (Action.UPDATE, ("it was left with an earlier service1",))
    assert set(again.changes["service1@1"].after) == {"service0"}


def changed(plan: Plan) -> dict[str, tuple[Action, tuple[str, ...]]]:
    return {a: (c.action, c.reasons) for a, c in plan.changes.items() if not c.is_noop}


def test_what_a_refresh_found_is_taken_over_and_lost_things_get_another_token() -> None:
    found = bed()
    order = random.Random(1)
    found.apply(topology(CHAIN), order)
    service = Change("service0", "Service", Action.NO_OP, ("as wanted",), DesiredInstance("", "", ""))
    del found.world.services["host1", service.address]
    seen = {a: found.world.observe(r) for a, r in found.state.instances.items()}
    seen["image0"] = Observation(Presence.PRESENT, attributes={"digest": "sha256:1"})
    plan = plan_refresh(found.state, seen)
    assert changed(plan) == {
        "service0": (Action.REFRESH, ("lost",)),
        "image0": (Action.REFRESH, ("'digest': nothing → sha256:1",)),
    }
    before = dict(found.world.things)
    found.do(plan, order)
    assert found.world.things == before
    assert found.state.instances["image0"].attributes["digest"] == "sha256:1"
    assert plan_refresh(found.state, seen).is_empty
    again = found.apply(topology(CHAIN), order)
    assert changed(again) == {"service0": (Action.CREATE, ("not there any longer",))}
    assert found.state.instances["service0"].generation == 2
    check_is_as_wanted(found, topology(CHAIN))
