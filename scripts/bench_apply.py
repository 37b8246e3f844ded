#!/usr/bin/env python3
"""Measures the engine: how long an apply takes beside its critical path, and what a node costs as their number grows.

Everything is the program's own but for the operations, which only wait: the planner, the walk, the journal on a disk.
`scripts/bench` takes the figures from `--json`; run alone it prints a table.

Usage: bench_apply.py [--json] [--folder FOLDER]; the folder, a temporary one by default, must be on a real disk.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.engine.apply import DEFAULT_PARALLELISM, apply_plan
from orchestrator.engine.operations import RunContext
from orchestrator.engine.schedule import Schedule
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.planning.planner import Wanted, plan_apply
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.session import DeploymentSession

NODES = 200
"""Nodes of the apply with latencies."""

SIZES = (100, 500, 1000, 2000, 5000)
"""Nodes of the applies without latencies."""

SHRUNK = 20
"""So many seconds of a real operation are one second here."""

SIMULATED = "simulated"
_OPERATIONS = {"create": Operation("create", SIMULATED, "wait"), "delete": Operation("delete", SIMULATED, "wait")}


@dataclass(frozen=True)
class Makespan:
    """How long an apply took, in seconds, and what bounds it: no apply is faster than any of the two."""

    nodes: int
    parallelism: int
    makespan: float
    critical_path: float
    work_shared: float

    @property
    def ratio(self) -> float:
        """1 is what cannot be beaten."""
        return self.makespan / self.critical_path


@dataclass(frozen=True)
class Cost:
    """What one node of so many costs, in milliseconds.

    ``apply_ms`` is an apply of new nodes by one worker (three durable steps each), ``journal_ms`` the part of it that
    the state takes, mostly waiting for the disk, and ``journal_cpu_ms`` what it computes meanwhile; ``plan_ms`` is a
    plan over all of them that finds nothing to do, ``load_ms`` reading the state.
    """

    nodes: int
    apply_ms: float
    journal_ms: float
    journal_cpu_ms: float
    plan_ms: float
    load_ms: float


FIGURES = ("apply_ms", "journal_ms", "journal_cpu_ms", "plan_ms", "load_ms")


class Waiting:
    """An executor whose operations take the time that they are given."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds = seconds

    def run(self, request: OperationRequest) -> OperationResult:
        """Wait."""
        seconds = self._seconds.get(request.instance.address, 0.0)
        if seconds:
            time.sleep(seconds)
        return OperationResult({"host": "10.0.0.1", "made": request.operation})

    def observe(self, request: OperationRequest) -> Observation:
        """Everything is there."""
        return Observation(Presence.PRESENT, request.instance.address)


class Executors(ExecutorRegistry):
    """Only the one that waits."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        super().__init__()
        self._loaded[SIMULATED] = Waiting(seconds)


class TimedSession(DeploymentSession):
    """A session that adds up the seconds that its steps take."""

    seconds = 0.0
    cpu_seconds = 0.0

    def record(self, record: object) -> None:
        """See the session."""
        started, cpu_started = time.perf_counter(), time.thread_time()
        super().record(record)  # type: ignore[arg-type]
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.thread_time() - cpu_started


def build_deployment(nodes: int, seed: int = 1) -> tuple[Wanted, dict[str, float]]:
    """Clusters of four machines with a platform each, images, and services in pipelines of five over the clusters.

    Returns:
        What is wanted, and the seconds that the making of each instance takes.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    made: dict[str, DesiredInstance] = {}
    seconds: dict[str, float] = {}

    def add(address: str, low: float, high: float, **requirements: tuple[str, ...]) -> str:
        properties = {f"property_{number}": number for number in range(12)}
        made[address] = DesiredInstance(
            address, address, "Bench", properties=properties, requirements=requirements, operations=_OPERATIONS
        )
        seconds[address] = draw.uniform(low, high) / SHRUNK
        return address

    clusters = max(1, nodes * 3 // 40)
    platforms = []
    for number in range(clusters):
        machines = tuple(add(f"machine-{number}-{index}", 15, 45) for index in range(4))
        cluster = add(f"cluster-{number}", 60, 120, machine=machines)
        platforms.append(add(f"platform-{number}", 20, 40, host=(cluster,)))
    before = ""
    for number in range((nodes - len(made)) // 2):
        image = add(f"image-{number}", 10, 40)
        wiring = {"connects_to": (before,)} if before and number % 5 else {}
        before = add(f"service-{number}", 3, 8, image=(image,), host=(draw.choice(platforms),), **wiring)
    while len(made) < nodes:
        add(f"image-more-{len(made)}", 10, 40)
    return Wanted("bench", made), seconds


def open_run(folder: Path, wanted: Wanted, seconds: Mapping[str, float]) -> tuple[RunContext, TimedSession]:
    """The state in a folder, and what an apply needs besides."""
    session = TimedSession(LocalStateStore(folder / "state"), "bench", make_lineage=lambda: "bench")
    context = RunContext(
        tag=DeploymentTag("bench", "bench"),
        run="bench",
        folders=Folders(folder, folder, folder, folder),
        secrets=None,  # type: ignore[arg-type]
        desired=wanted.instances,
        executors=Executors(seconds),
        cancel=threading.Event(),
    )
    return context, session


def ignore(_event: object) -> None:
    """Listen to nothing."""


def measure_makespan(folder: Path, nodes: int = NODES, parallelism: int = DEFAULT_PARALLELISM) -> Makespan:
    """Apply nodes whose operations take their time, and compare with the critical path."""
    wanted, seconds = build_deployment(nodes)
    context, session = open_run(folder, wanted, seconds)
    plan = plan_apply("bench", wanted, None, {})
    critical_path = Schedule(plan.changes, parallelism, estimates=seconds).critical_path
    started = time.perf_counter()
    outcome = apply_plan(plan, context, session, ignore, parallelism, estimates=seconds)
    makespan = time.perf_counter() - started
    if not outcome.is_complete:
        raise RuntimeError(f"{len(outcome.failed)} changes failed")
    return Makespan(nodes, parallelism, makespan, critical_path, sum(seconds.values()) / parallelism)


def measure_cost(folder: Path, nodes: int) -> Cost:
    """What a node costs where operations take no time: one worker, so that nothing waits for a lock."""
    wanted, _ = build_deployment(nodes)
    context, session = open_run(folder, wanted, {})
    plan = plan_apply("bench", wanted, None, {})
    started = time.perf_counter()
    apply_plan(plan, context, session, ignore, 1)
    applied = time.perf_counter() - started
    session.snapshot()
    started = time.perf_counter()
    _, again = open_run(folder, wanted, {})
    loaded = time.perf_counter() - started
    seen = {address: Observation(Presence.PRESENT) for address in wanted.instances}
    started = time.perf_counter()
    noop = plan_apply("bench", wanted, again.state, seen)
    planned = time.perf_counter() - started
    if not noop.is_empty:
        raise RuntimeError("an apply has left something to do")
    each = 1000 / nodes
    return Cost(
        nodes, applied * each, session.seconds * each, session.cpu_seconds * each, planned * each, loaded * each
    )


def measure(folder: Path, sizes: tuple[int, ...] = SIZES) -> tuple[Makespan, tuple[Cost, ...]]:
    """All of it, each in a folder of its own; the best of two runs counts where only work is measured."""
    measure_cost(folder / "warm", 50)
    costs = []
    for size in sizes:
        runs = [measure_cost(folder / f"{size}-{turn}", size) for turn in range(2)]
        best = {name: min(getattr(run, name) for run in runs) for name in FIGURES}
        costs.append(Cost(size, **best))
    return measure_makespan(folder / "makespan"), tuple(costs)


def render(makespan: Makespan, costs: tuple[Cost, ...]) -> str:
    """The figures for people."""
    lines = [
        f"apply of {makespan.nodes} nodes with latencies, at most {makespan.parallelism} at once",
        f"  {makespan.makespan:.2f} s, critical path {makespan.critical_path:.2f} s, ratio {makespan.ratio:.3f}",
        f"  (its work shared evenly: {makespan.work_shared:.2f} s)",
        "",
        "ms a node    apply  journal  (of it CPU)     plan     load",
    ]
    lines += [
        f"{c.nodes:>9,}  {c.apply_ms:7.3f}  {c.journal_ms:7.3f}  {c.journal_cpu_ms:11.3f}  {c.plan_ms:7.3f}"
        f"  {c.load_ms:7.3f}"
        for c in costs
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="for scripts/bench")
    parser.add_argument("--folder", type=Path, help="where the state is kept meanwhile")
    args = parser.parse_args()
    if args.folder is not None:
        args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="continuum-deploy-bench-", dir=args.folder) as folder:
        makespan, costs = measure(Path(folder))
    if args.json:
        print(
            json.dumps({"makespan": asdict(makespan) | {"ratio": makespan.ratio}, "costs": [asdict(c) for c in costs]})
        )
    else:
        print(render(makespan, costs))


if __name__ == "__main__":
    main()
