"""``deploy status --drift``: what differs, property by property, and that an apply mends it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.planning.drift import compare_attributes, drifted
from orchestrator.planning.observation import Difference, Observation, Presence
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.pretend import PretendExecutor, World

NAME = "mask-detection-rehearsal"
YES = ("--rehearse", "--auto-approve")
BOARD = "layer1-rasppi[1]"


def drift(monkeypatch: pytest.MonkeyPatch, seen: dict[str, Observation]) -> None:
    """From now on a look finds this, until something is done about it."""
    observe, run = PretendExecutor.observe, PretendExecutor.run

    def look(self: PretendExecutor, request: OperationRequest) -> Observation:
        return seen.get(request.record.address) or observe(self, request)

    def mend(self: PretendExecutor, request: OperationRequest) -> object:
        seen.pop(request.record.address, None)
        return run(self, request)

    monkeypatch.setattr(PretendExecutor, "observe", look)
    monkeypatch.setattr(PretendExecutor, "run", mend)


def test_nothing_differs(deploy: Deploy, application: Path, world: World) -> None:
    deploy("apply", application, *YES)
    assert "No drift" in deploy("status", NAME, "--drift", "--detailed-exitcode")


def test_what_differs_is_told_and_mended(
    deploy: Deploy, application: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy("apply", application, *YES)
    environment = Difference("environment", {"MODE": "fast"}, {"MODE": "slow"})
    drift(
        monkeypatch,
        {
            "service-blurry-faces": drifted((Difference("memory_mb", 512, 256), environment)),
            "layer1-rasppi-oscar": Observation(Presence.UNKNOWN, "no answer in time"),
        },
    )
    world.remove(next(token for token, t in world.things.items() if t.address == "layer1-rasppi[2]"))
    shown = deploy("status", NAME, "--drift", "--detailed-exitcode", expect=3)
    lines = [line.split() for line in shown.splitlines()]
    assert ["service-blurry-faces", "memory_mb", "512", "256"] in lines
    assert ["service-blurry-faces", "environment.MODE", "fast", "slow"] in lines
    assert ["layer1-rasppi[2]", "presence", "present", "(not", "there)"] in lines
    assert "1 could not be asked: layer1-rasppi-oscar." in shown
    status = json.loads(deploy("status", NAME, "--drift", "--json", "--detailed-exitcode", expect=3))
    found = {i["address"]: i["drift"] for i in status["instances"] if i["drift"]}
    assert found["service-blurry-faces"][0] == {"name": "memory_mb", "recorded": 512, "found": 256}
    assert deploy("status", NAME, "--drift").count("differ: `deploy apply`") == 1
    assert "memory_mb is 256 instead of 512" in deploy("apply", application, *YES)
    assert "No drift" in deploy("status", NAME, "--drift", "--detailed-exitcode")


def test_refresh_only_takes_over_what_is_found(
    deploy: Deploy, application: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy("apply", application, *YES)
    seen = {"service-blurry-faces": drifted((Difference("memory_mb", 512, 256),))}
    drift(monkeypatch, seen)
    deploy("apply", application, *YES, "--refresh-only")
    assert "'memory_mb' changed: 256 → 512" in deploy("plan", application, "--rehearse")


def test_a_machine_that_was_resized_is_told_and_can_be_accepted_or_set_back(
    deploy: Deploy, application: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy("apply", application, *YES)
    observe, run, size = PretendExecutor.observe, PretendExecutor.run, {"memory_mb": 512}

    def look(self: PretendExecutor, request: OperationRequest) -> Observation:
        if request.record.address != BOARD:
            return observe(self, request)
        return drifted(compare_attributes(request.record.attributes, size), "running", size)

    def set_back(self: PretendExecutor, request: OperationRequest) -> OperationResult:
        if request.record.address == BOARD:
            size.update(memory_mb=1024)
        return run(self, request)

    monkeypatch.setattr(PretendExecutor, "observe", look)
    monkeypatch.setattr(PretendExecutor, "run", set_back)
    shown = deploy("status", NAME, "--drift", "--detailed-exitcode", expect=3)
    assert [BOARD, "memory_mb", "1024", "512"] in [line.split() for line in shown.splitlines()]
    assert "'memory_mb': 1024 → 512" in deploy("apply", application, *YES, "--refresh-only")
    assert "No drift" in deploy("status", NAME, "--drift", "--detailed-exitcode")
    assert "No changes" in deploy("plan", application, "--rehearse", "--detailed-exitcode")

    before = sorted(world.things)
    size.update(memory_mb=2048)
    assert "memory_mb is 2048 instead of 512" in deploy("apply", application, *YES)
    assert sorted(world.things) == before, "it is the same machine"
    assert "No drift" in deploy("status", NAME, "--drift", "--detailed-exitcode")
