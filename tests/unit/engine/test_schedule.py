"""Which change starts when: order, bounds, and the time that all of it takes on a clock that only counts."""

from __future__ import annotations

import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from orchestrator.engine.limits import NO_LIMIT, Limit
from orchestrator.engine.schedule import Schedule
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.graph import DependencyCycleError
from orchestrator.planning.plan import Change

MAKESPAN = 1.1
"""How much longer than its critical path an apply may take."""


def change(address: str, *after: str, action: Action = Action.CREATE, machines: tuple[str, ...] = ()) -> Change:
    requirements = {"machine": machines} if machines else {}
    instance = DesiredInstance(address, address, "T", requirements=requirements)
    return Change(address, "T", action, ("because",), instance, (*after, *machines))


def changes_of(*changes: Change) -> dict[str, Change]:
    return {c.address: c for c in changes}


def random_changes(count: int, seed: int, fan_in: int = 3) -> dict[str, Change]:
    """A graph in layers, as deployments have them: machines, clusters, platforms, images and services."""
    draw = random.Random(seed)
    layers = draw.randint(4, 12)
    members: list[list[str]] = [[] for _ in range(layers)]
    for number in range(count):
        members[draw.randrange(layers) if number >= layers else number].append(f"n{number}")
    return changes_of(
        *(
            change(address, *(draw.choice(draw.choice(members[:depth])) for _ in range(draw.randint(1, fan_in))))
            if depth
            else change(address)
            for depth, layer in enumerate(members)
            for address in layer
        )
    )


class Simulation:
    """Runs a schedule against a clock that jumps from one end of a change to the next."""

    def __init__(
        self,
        changes: Mapping[str, Change],
        seconds: Mapping[str, float],
        parallelism: int,
        limit_of: Callable[[Change], Limit] = lambda _change: NO_LIMIT,
        estimates: Mapping[str, float] | None = None,
    ) -> None:
        self.schedule = Schedule(changes, parallelism, limit_of, estimates)
        self.seconds = seconds
        self.limit_of = limit_of
        self.changes = changes
        self.now = 0.0
        self.starts: dict[str, float] = {}
        self.most = 0
        self.most_by_limit: Counter[str] = Counter()

    def run(self) -> float:
        running: list[tuple[float, str]] = []
        done: set[str] = {a for a, c in self.changes.items() if c.is_noop}
        while True:
            for started in self.schedule.start():
                assert all(a in done for a in started.after if a in self.changes), started
                self.starts[started.address] = self.now
                heapq.heappush(running, (self.now + self.seconds[started.address], started.address))
            self._note(running)
            if not running:
                return self.now
            self.now, ended = heapq.heappop(running)
            done.add(ended)
            self.schedule.finish(ended)

    @property
    def order(self) -> list[str]:
        """Addresses in the order in which they were started."""
        return list(self.starts)

    def _note(self, running: list[tuple[float, str]]) -> None:
        self.most = max(self.most, len(running))
        for name, count in Counter(self.limit_of(self.changes[a]).name for _, a in running).items():
            self.most_by_limit[name] = max(self.most_by_limit[name], count)


def critical_path(changes: Mapping[str, Change], seconds: Mapping[str, float]) -> float:
    ends: dict[str, float] = {}
    left = dict(changes)
    while left:
        for address, each in list(left.items()):
            if all(a in ends for a in each.after):
                ends[address] = seconds[address] + max((ends[a] for a in each.after), default=0.0)
                del left[address]
    return max(ends.values())


@pytest.mark.parametrize("seed", range(40))
def test_two_hundred_changes_take_little_longer_than_their_critical_path(seed: int) -> None:
    changes = random_changes(200, seed)
    draw = random.Random(seed + 1000)
    # From a registered service to a cluster: most are short, some take minutes.
    seconds = {a: draw.choice((draw.uniform(0.5, 5), draw.uniform(5, 40), draw.uniform(40, 120))) for a in changes}
    path = critical_path(changes, seconds)
    work = sum(seconds.values())
    parallelism = max(32, int(1.5 * work / path) + 1)
    simulation = Simulation(changes, seconds, parallelism, estimates=seconds)
    assert simulation.run() <= MAKESPAN * path
    assert simulation.most <= parallelism
    assert simulation.schedule.critical_path == pytest.approx(path)


@pytest.mark.parametrize("seed", range(20))
def test_without_estimates_it_is_never_longer_than_what_any_order_can_reach(seed: int) -> None:
    """Graham's bound for a list schedule: work shared among all, plus the critical path."""
    changes = random_changes(200, seed)
    draw = random.Random(seed)
    seconds = {a: draw.uniform(0.5, 60) for a in changes}
    path, work = critical_path(changes, seconds), sum(seconds.values())
    for parallelism in (1, 4, 32):
        simulation = Simulation(changes, seconds, parallelism)
        assert simulation.run() <= work / parallelism + path * (1 - 1 / parallelism) + 1e-6
        assert simulation.most <= parallelism


@pytest.mark.parametrize("seed", range(10))
def test_estimates_that_are_wrong_by_half_still_help(seed: int) -> None:
    changes = random_changes(200, seed)
    draw = random.Random(seed)
    seconds = {a: draw.uniform(1, 100) for a in changes}
    estimates = {a: s * draw.uniform(0.5, 1.5) for a, s in seconds.items()}
    path = critical_path(changes, seconds)
    parallelism = int(1.5 * sum(seconds.values()) / path) + 1
    assert Simulation(changes, seconds, parallelism, estimates=estimates).run() <= 1.25 * path


def test_what_has_the_longest_way_to_go_is_started_first() -> None:
    changes = changes_of(
        *(change(f"short{n}") for n in range(6)), change("a"), change("b", "a"), change("c", "b"), change("d", "c")
    )
    seconds = dict.fromkeys(changes, 1.0)
    simulation = Simulation(changes, seconds, 2)
    assert simulation.run() == 5.0
    assert simulation.order[0] == "a"
    estimated = Simulation(changes, seconds, 1, estimates={"short3": 60.0, "a": 1.0, "b": 1.0})
    estimated.run()
    assert estimated.order[0] == "short3", "what took long in earlier runs goes first"


@pytest.mark.parametrize("seed", range(10))
def test_limits_are_kept_and_do_not_block_others(seed: int) -> None:
    draw = random.Random(seed)
    changes = random_changes(200, seed)
    limits = {a: draw.choice((Limit("cloud", 3), Limit("play", 5), NO_LIMIT)) for a in changes}
    seconds = {a: draw.uniform(1, 30) for a in changes}
    simulation = Simulation(changes, seconds, 12, lambda c: limits[c.address])
    simulation.run()
    assert len(simulation.order) == 200
    assert simulation.most <= 12
    assert simulation.most_by_limit["cloud"] <= 3
    assert simulation.most_by_limit["play"] <= 5


def test_a_provider_that_is_busy_holds_up_nobody_else() -> None:
    changes = changes_of(*(change(f"cloud{n}") for n in range(50)), change("pi"), change("cluster", "pi"))
    limit = Limit("cloud", 2)
    simulation = Simulation(
        changes, dict.fromkeys(changes, 10.0), 4, lambda c: limit if c.address.startswith("cloud") else NO_LIMIT
    )
    assert simulation.run() == 250.0
    assert (simulation.starts["pi"], simulation.starts["cluster"]) == (0.0, 10.0)
    assert simulation.most_by_limit["cloud"] == 2


def test_no_ops_are_there_already_and_strangers_are_not_waited_for() -> None:
    changes = changes_of(change("a", action=Action.NO_OP), change("b", "a", "elsewhere"), change("c", "b"))
    simulation = Simulation(changes, {"b": 1.0, "c": 1.0}, 1)
    assert simulation.run() == 2.0
    assert simulation.order == ["b", "c"]


def test_a_failure_leaves_out_what_needs_it_and_names_the_cause_nearest_to_each() -> None:
    changes = changes_of(
        change("a"), change("b", "a"), change("c", "b"), change("d", "c", "x"), change("x"), change("y", "x")
    )
    schedule = Schedule(changes, 10)
    assert {c.address for c in schedule.start()} == {"a", "x"}
    schedule.finish("x")
    left_out = [(c.address, because) for c, because in schedule.fail("a")]
    assert left_out == [("b", "a"), ("c", "b"), ("d", "c")]
    assert [c.address for c in schedule.start()] == ["y"]
    schedule.finish("y")
    assert list(schedule.start()) == []


def test_a_cluster_goes_on_without_agents_but_not_without_its_server() -> None:
    machines = ("pi[0]", "pi[1]", "pi[2]")
    changes = changes_of(*(change(m) for m in machines), change("k3s", machines=machines), change("oscar", "k3s"))
    schedule = Schedule(changes, 10)
    list(schedule.start())
    assert schedule.fail("pi[1]") == []
    schedule.finish("pi[0]")
    assert list(schedule.start()) == []
    assert schedule.fail("pi[2]") == []
    assert [c.address for c in schedule.start()] == ["k3s"]

    schedule = Schedule(changes, 10)
    list(schedule.start())
    assert [(c.address, because) for c, because in schedule.fail("pi[0]")] == [("k3s", "pi[0]"), ("oscar", "k3s")]
    assert schedule.fail("pi[1]") == []


def test_an_agent_left_out_for_its_own_cause_does_not_stop_the_cluster() -> None:
    changes = changes_of(
        change("network"), change("pi[0]"), change("pi[1]", "network"), change("k3s", machines=("pi[0]", "pi[1]"))
    )
    schedule = Schedule(changes, 10)
    list(schedule.start())
    schedule.finish("pi[0]")
    assert [(c.address, because) for c, because in schedule.fail("network")] == [("pi[1]", "network")]
    assert [c.address for c in schedule.start()] == ["k3s"]


def test_removals_wait_for_everything() -> None:
    removal = change("k3s", "gone", action=Action.DELETE, machines=("pi[0]", "pi[1]"))
    changes = changes_of(change("gone"), change("pi[0]"), change("pi[1]"), removal)
    schedule = Schedule(changes, 10)
    list(schedule.start())
    assert [c.address for c, _ in schedule.fail("pi[1]")] == ["k3s"]


def test_giving_up_tells_what_was_not_started() -> None:
    schedule = Schedule(changes_of(change("a"), change("b", "a"), change("c")), 1)
    assert [c.address for c in schedule.start()] == ["a"]
    assert [c.address for c in schedule.give_up_all()] == ["b", "c"]
    schedule.finish("a")
    assert list(schedule.start()) == []
    assert schedule.give_up_all() == []


def test_a_circle_is_refused() -> None:
    with pytest.raises(DependencyCycleError):
        Schedule(changes_of(change("a", "b"), change("b", "a")), 1)


def steps_of(count: int) -> int:
    """How many lines of the schedule's own code an apply of so many changes takes."""
    changes = random_changes(count, seed=1)
    simulation = Simulation(changes, dict.fromkeys(changes, 1.0), 32)
    steps = 0

    def trace(frame: object, event: str, _argument: object) -> object:
        nonlocal steps
        if not frame.f_code.co_filename.endswith("schedule.py"):  # type: ignore[attr-defined]
            return None
        steps += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        simulation.run()
    finally:
        sys.settrace(before)
    return steps


def test_the_work_for_each_change_does_not_grow_with_their_number() -> None:
    few, many = steps_of(200), steps_of(4000)
    assert many / 4000 <= 1.5 * few / 200
