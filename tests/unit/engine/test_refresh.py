"""Looks: bounded each and together, and what an instance has to do without counts as a finding."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine.operations import RunContext
from orchestrator.engine.refresh import refresh
from orchestrator.executors.base import Folders, OperationRequest, OperationResult
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.observation import Observation, Presence
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.model import InstanceRecord, Lifecycle

FAKE = "fake"


class World:
    """What is looked at: ``hanging`` never answers until the test is over."""

    def __init__(self) -> None:
        self.hanging: set[str] = set()
        self.seen: dict[str, Observation] = {}
        self.over = threading.Event()

    def run(self, request: OperationRequest) -> OperationResult:
        raise AssertionError(f"{request.instance.address} was only to be looked at")

    def observe(self, request: OperationRequest) -> Observation:
        if request.instance.address in self.hanging:
            self.over.wait()
        return self.seen.get(request.instance.address, Observation(Presence.PRESENT))


class Executors(ExecutorRegistry):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._loaded[FAKE] = world


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.over.set()


def context(world: World, folder: Path) -> RunContext:
    return RunContext(
        tag=DeploymentTag("demo", "lineage"),
        run="run",
        folders=Folders(folder, folder, folder, folder),
        secrets=None,  # type: ignore[arg-type]
        desired={},
        executors=Executors(world),
        cancel=threading.Event(),
    )


def record(address: str, **attributes: object) -> InstanceRecord:
    inputs = {"operations.create": f"{FAKE}:make"}
    return InstanceRecord(address, address, "T", lifecycle=Lifecycle.STARTED, inputs=inputs, attributes=attributes)  # type: ignore[arg-type]


def test_a_look_that_hangs_is_not_waited_for_and_the_others_are_done(world: World, tmp_path: Path) -> None:
    world.hanging = {f"n{number}" for number in range(40)}
    records = {f"n{number}": record(f"n{number}") for number in range(80)}
    found = refresh(context(world, tmp_path), records, look_limit=0.05)
    assert list(found) == list(records)
    for address, seen in found.items():
        if address in world.hanging:
            assert seen == Observation(Presence.UNKNOWN, "no answer to a look within 0.05 s")
        else:
            assert seen.presence is Presence.PRESENT


def test_all_looks_together_are_bounded(world: World, tmp_path: Path) -> None:
    world.hanging = {f"n{number}" for number in range(80)}
    records = {address: record(address) for address in sorted(world.hanging)}
    found = refresh(context(world, tmp_path), records, look_limit=3600, total_limit=0.1)
    assert {seen.presence for seen in found.values()} == {Presence.UNKNOWN}
    assert {seen.detail for seen in found.values()} == {"not asked: others took too long to answer"}


def test_a_mistake_in_a_look_is_not_hidden(world: World, tmp_path: Path) -> None:
    broken = {"a": InstanceRecord("a", "a", "T", inputs={"operations.create": "unknown:make"}), "b": record("b")}
    assert refresh(context(world, tmp_path), broken)["a"].presence is Presence.UNKNOWN
    world.seen = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        refresh(context(world, tmp_path), {"b": record("b")})


@pytest.mark.parametrize(
    ("seen", "presence", "detail"),
    [
        (Observation(Presence.PRESENT), Presence.DEGRADED, "edge[2] could not be reached when it was last applied"),
        (Observation(Presence.UNKNOWN), Presence.DEGRADED, "edge[2] could not be reached when it was last applied"),
        (Observation(Presence.DEGRADED, "node edge-2 is not ready"), Presence.DEGRADED, "node edge-2 is not ready"),
        (Observation(Presence.MISSING, "gone"), Presence.MISSING, "gone"),
    ],
)
def test_what_an_instance_lacks_is_found(
    world: World, tmp_path: Path, seen: Observation, presence: Presence, detail: str
) -> None:
    world.seen = {"edge-k3s": seen}
    found = refresh(context(world, tmp_path), {"edge-k3s": record("edge-k3s", degraded=["edge[2]"])})
    assert (found["edge-k3s"].presence, found["edge-k3s"].detail) == (presence, detail)


def test_why_an_instance_lacks_it_is_told_where_it_is_known(world: World, tmp_path: Path) -> None:
    because = {"edge[2]": "did not come back from its reboot within 9 s"}
    lacking = record("edge-k3s", degraded=["edge[1]", "edge[2]"], degraded_because=because)
    found = refresh(context(world, tmp_path), {"edge-k3s": lacking})["edge-k3s"]
    assert found.detail == (
        "edge[1], edge[2] (did not come back from its reboot within 9 s) could not be reached when it was last applied"
    )


def test_what_lacks_nothing_any_longer_is_whole(world: World, tmp_path: Path) -> None:
    found = refresh(context(world, tmp_path), {"edge-k3s": record("edge-k3s", degraded=[])})
    assert found["edge-k3s"] == Observation(Presence.PRESENT)
