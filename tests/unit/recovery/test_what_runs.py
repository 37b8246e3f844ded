"""After an apply of which a part failed: what runs all the same is shown, and the exit code says that not all does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import ProviderError
from orchestrator.executors.base import OperationRequest, OperationResult
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.pretend import PretendExecutor, World

YES = ("--rehearse", "--auto-approve")
AGENT, SERVER = "layer1-rasppi[2]", "layer1-rasppi[0]"
CLUSTER = "layer1-rasppi-k3s"


@pytest.fixture(autouse=True)
def clusters_as_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A play tells of a cluster what the real one tells: where it is, and what it has to do without."""
    run = PretendExecutor.run

    def tell(self: PretendExecutor, request: OperationRequest) -> OperationResult:
        result = run(self, request)
        if not request.record.address.endswith("-k3s") or request.operation == "delete":
            return result
        wanted = request.instance.requirements["machine"]
        missing = [a for a in wanted if "host" not in request.known[a].attributes]
        about = {"kubeconfig": f"kubeconfig/{request.record.node}.yaml", "api_endpoint": "https://192.0.2.1:6443"}
        return OperationResult({**result.attributes, **about, "degraded": missing})

    monkeypatch.setattr(PretendExecutor, "run", tell)


def refuse(world: World, *addresses: str) -> None:
    def trouble(request: OperationRequest) -> None:
        if request.record.address in addresses:
            raise ProviderError("The provider refused.", detail=f"{request.record.address}: no room for it.")

    world.trouble = trouble


def test_what_runs_without_a_machine_that_could_not_be_made_is_shown(
    deploy: Deploy, application: Path, world: World
) -> None:
    refuse(world, AGENT)
    shown = deploy("apply", application, *YES, expect=1)
    endpoints, error = shown.split("Endpoints")[1], shown.split("1 change failed.")[1]
    assert f"  {CLUSTER}: 3 nodes ({AGENT} unreachable), Kubernetes API https://192.0.2.1:6443" in endpoints
    assert f"{AGENT}: The provider refused." in error
    assert f"! {CLUSTER} does without {AGENT}" in error
    done, _, total = next(line for line in shown.splitlines() if line.startswith("Applied ")).split()[1:4]
    assert int(done) == int(total) - 1

    world.trouble = lambda _request: None
    assert "unreachable" not in deploy("apply", application, *YES).split("Endpoints")[1]
    assert "No changes" in deploy("plan", application, "--rehearse", "--detailed-exitcode")


def test_a_service_that_failed_is_not_shown_as_one_that_runs(deploy: Deploy, application: Path, world: World) -> None:
    deploy("apply", application, *YES)
    refuse(world, "service-blurry-faces")
    shown = deploy("apply", application, *YES, "--replace", "service-blurry-faces", expect=1)
    lines = [line.strip() for line in shown.split("Endpoints")[1].splitlines()]
    assert any(line.startswith("blurry-faces (layer 1, on layer1-rasppi-k3s; error):") for line in lines)
    assert any(line.startswith("mask-detector (layer 2, on layer2-cloudvm-k3s):") for line in lines)


def test_the_last_event_carries_what_runs(deploy: Deploy, application: Path, world: World) -> None:
    refuse(world, AGENT)
    printed = deploy("apply", application, *YES, "--json", expect=1).splitlines()
    (last,) = [e for e in map(json.loads, (x for x in printed if x.startswith("{"))) if e["event"] == "run-finished"]
    assert last["outcome"] == "failed"
    nodes = {n["address"]: n["state"] for c in last["manifest"]["clusters"] for n in c["nodes"]}
    assert [address for address, state in nodes.items() if state != "started"] == [AGENT]


def test_nothing_is_shown_where_nothing_runs(deploy: Deploy, application: Path, world: World) -> None:
    refuse(world, SERVER, "layer2-cloudvm[0]")
    shown = deploy("apply", application, *YES, expect=1)
    assert "Endpoints" not in shown
    assert "2 changes failed." in shown
