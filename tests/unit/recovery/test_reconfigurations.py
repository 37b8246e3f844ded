"""The six kinds of reconfiguration through the whole command line, in one go and in narrowed steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import OperationError
from orchestrator.executors.base import OperationRequest
from orchestrator.services import prepare
from orchestrator.state.folders import state_folder
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import State
from tests.golden.test_plan import GOLDEN, SIX_KINDS
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.pretend import World

NAME = "mask-detection-rehearsal"
YES = ("--rehearse", "--auto-approve")
BASE = GOLDEN / "mask-detection" / "production.yaml"


@pytest.fixture(autouse=True)
def _no_registry(monkeypatch: pytest.MonkeyPatch, application: Path) -> None:
    del application  # its folders are where this runs
    monkeypatch.setattr(prepare, "image_available", lambda _reference: False)


def state() -> State:
    found = LocalStateStore(state_folder(NAME)).load()
    assert found is not None
    return found


def changed(case: str) -> Path:
    return GOLDEN / "changes" / case / "production.yaml"


def services() -> dict[str, str]:
    """Service to the host that the state says it has."""
    return {
        address: str(record.inputs["requirements.host"][0])  # type: ignore[index]
        for address, record in state().instances.items()
        if address.startswith("service-")
    }


@pytest.mark.parametrize("case", SIX_KINDS)
def test_a_reconfiguration_ends_as_wanted_and_leaves_nothing_of_the_former(
    deploy: Deploy, world: World, case: str
) -> None:
    deploy("apply", BASE, *YES)
    world.log.clear()
    deploy("apply", changed(case), *YES)
    assert "No changes" in deploy("plan", changed(case), "--rehearse", "--detailed-exitcode")
    assert not any("@" in address for address in state().instances)
    on_platforms = {name for name in world.things if name.startswith("service-")}
    assert on_platforms == {f"{service} on ['{host}']" for service, host in services().items()}
    removals = [i for i, step in enumerate(world.log) if step.startswith("service-") and "stop begins" in step]
    made = [i for i, step in enumerate(world.log) if step.startswith("service-") and "configure done" in step]
    assert removals, "every kind takes a service away from somewhere"
    assert made
    assert max(made) < min(removals), "the new before the old"


def test_a_swap_back_and_forth_counts_generations_and_keeps_one_object_each(deploy: Deploy, world: World) -> None:
    for file in (BASE, changed("swapped-layers"), BASE, changed("swapped-layers")):
        deploy("apply", file, *YES)
    record = state().instances["service-blurry-faces"]
    assert (record.generation, services()["service-blurry-faces"]) == (4, "layer2-cloudvm-oscar")
    assert sum(name.startswith("service-") for name in world.things) == 2


def test_a_narrowed_move_keeps_the_former_one_until_its_neighbour_is_told(deploy: Deploy, world: World) -> None:
    deploy("apply", BASE, *YES)
    shown = deploy("apply", changed("swapped-layers"), *YES, "--target", "mask-detector")
    assert "Only mask-detector with what must come before" in shown
    assert services() == {
        "service-blurry-faces": "layer1-rasppi-oscar",
        "service-mask-detector": "layer1-rasppi-oscar",
        "service-mask-detector@1": "layer2-cloudvm-oscar",
    }
    assert len(json.loads(deploy("rollback", NAME, "--list", "--json"))["versions"]) == 1, "it is not complete"
    plan = deploy("plan", changed("swapped-layers"), "--rehearse")
    assert "blurry-faces: layer 1 → layer 2" in plan
    deploy("apply", changed("swapped-layers"), *YES)
    assert services() == {
        "service-blurry-faces": "layer2-cloudvm-oscar",
        "service-mask-detector": "layer1-rasppi-oscar",
    }
    assert sum(name.startswith("service-") for name in world.things) == 2


def test_a_saved_narrowed_plan_is_refused_once_the_state_moved_on(deploy: Deploy, tmp_path: Path) -> None:
    deploy("apply", BASE, *YES)
    saved = tmp_path / "plan.json"
    deploy("plan", changed("swapped-layers"), "--rehearse", "--target", "mask-detector", "--out", saved)
    deploy("apply", changed("more-memory"), *YES)
    assert "The plan is stale." in deploy("apply", saved, "--auto-approve", expect=1)
    assert services()["service-mask-detector"] == "layer2-cloudvm-oscar"


def test_a_move_that_fails_leaves_the_former_one_at_work_and_the_next_apply_goes_on(
    deploy: Deploy, world: World
) -> None:
    deploy("apply", BASE, *YES)

    before = dict(world.things)

    def refuse(request: OperationRequest) -> None:
        if (request.record.address, request.operation) == ("service-mask-detector", "configure"):
            raise OperationError("It refuses.", detail="It has no room.")

    world.trouble = refuse
    deploy("apply", changed("swapped-layers"), *YES, expect=1)
    assert before.keys() <= world.things.keys(), "nothing that was at work is gone"
    assert services()["service-mask-detector@1"] == "layer2-cloudvm-oscar"
    world.trouble = lambda _request: None
    deploy("apply", changed("swapped-layers"), *YES)
    assert not any("@" in address for address in state().instances)


def test_a_saved_plan_without_changes_is_stale_too_once_the_state_moved_on(deploy: Deploy, tmp_path: Path) -> None:
    deploy("apply", BASE, *YES)
    saved = tmp_path / "plan.json"
    deploy("plan", BASE, "--rehearse", "--out", saved)
    assert "No changes" in deploy("apply", saved, "--auto-approve")
    deploy("apply", changed("more-memory"), *YES)
    assert "The plan is stale." in deploy("apply", saved, "--auto-approve", expect=1)
