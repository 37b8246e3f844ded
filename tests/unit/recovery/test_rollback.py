"""Going back to what was applied completely before, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import OperationError
from orchestrator.executors.base import OperationRequest
from orchestrator.services import rollback
from orchestrator.services.prepare import want
from orchestrator.services.rollback import ImageSource, find_images, target_of
from orchestrator.state.folders import state_folder
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import State
from orchestrator.state.session import DeploymentSession
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.pretend import World

NAME = "mask-detection-rehearsal"
YES = ("--rehearse", "--auto-approve")


class PretendEngine:
    """A container engine's list of images, by name and by identifier."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}

    def find(self, _client: object, name: str) -> str | None:
        return self.images.get(name)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PretendEngine:
    """The engine that a rollback asks for images; everything is there unless a test takes it away."""
    found = PretendEngine()
    monkeypatch.setattr(rollback, "connect", lambda **_options: None)
    monkeypatch.setattr(rollback, "find_image", found.find)
    return found


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def state() -> State:
    found = LocalStateStore(state_folder(NAME)).load()
    assert found is not None
    return found


def versions(deploy: Deploy) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(deploy("rollback", NAME, "--list", "--json"))["versions"]
    return found


def break_clusters(request: OperationRequest) -> None:
    if request.record.address.endswith("-k3s"):
        raise OperationError("It broke.", detail="This cluster cannot be set up.")


def test_from_a_good_version_to_the_one_before_it(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine
) -> None:
    deploy("apply", application, *YES)
    before, machines = state(), world.addresses("Machine")
    change(application, "totalNodes: 3", "totalNodes: 4")
    deploy("apply", application, *YES)
    assert world.addresses("Machine") != machines
    shown = deploy("rollback", NAME, "--auto-approve")
    assert "Back to version 1" in shown
    assert "- layer1-rasppi[3]" in shown
    assert world.addresses("Machine") == machines
    after = state()
    assert (after.template, after.profile) == (before.template, before.profile)
    assert after.instances.keys() == before.instances.keys()
    assert [(v["number"], v["present"]) for v in versions(deploy)] == [(3, True), (2, False), (1, True)]
    change(application, "totalNodes: 4", "totalNodes: 3")
    assert "No changes" in deploy("apply", application, *YES)


def test_after_a_failed_apply_to_the_last_that_was_complete(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine
) -> None:
    deploy("apply", application, *YES)
    change(application, "totalNodes: 3", "totalNodes: 4")
    deploy("apply", application, *YES)
    change(application, "memorySize: 4096", "memorySize: 2048")
    world.trouble = break_clusters
    deploy("apply", application, *YES, expect=1)
    assert [v["present"] for v in versions(deploy)] == [False, False]
    assert "none of these" in deploy("rollback", "--list")
    world.trouble = lambda _request: None
    assert "Back to version 2" in deploy("rollback", "--auto-approve")
    change(application, "memorySize: 2048", "memorySize: 4096")
    assert "No changes" in deploy("apply", application, *YES)
    assert len(world.addresses("Machine")) == 6


def test_a_failed_rollback_goes_on_when_it_is_repeated(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine
) -> None:
    deploy("apply", application, *YES)
    first = state().template
    change(application, "memorySize: 4096", "memorySize: 2048")
    deploy("apply", application, *YES)
    world.trouble = break_clusters
    deploy("rollback", "--to", "1", "--auto-approve", expect=1)
    assert state().template == first
    assert [v["number"] for v in versions(deploy)] == [2, 1], "what was not complete is no version"
    world.trouble = lambda _request: None
    deploy("rollback", "--to", "1", "--auto-approve")
    assert next((v["number"], v["present"]) for v in versions(deploy)) == (3, True)
    assert world.addresses() == sorted(set(world.addresses()))


def test_a_version_that_needs_no_change_is_noted_all_the_same(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine
) -> None:
    deploy("apply", application, *YES)

    def break_all(_request: OperationRequest) -> None:
        raise OperationError("It broke.")

    change(application, "totalNodes: 3", "totalNodes: 4")
    world.trouble = break_all
    deploy("apply", application, *YES, expect=1)
    world.trouble = lambda _request: None
    deploy("rollback", "--auto-approve")
    assert next(v["present"] for v in versions(deploy)) is True


def test_an_apply_that_changes_nothing_notes_what_an_earlier_program_did_not(
    deploy: Deploy, application: Path, world: World
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeploymentSession, "keep_version", lambda _self, _run: None)
        deploy("apply", application, *YES)
    assert state().versions == ()
    assert "No changes" in deploy("apply", application, *YES)
    assert [v["present"] for v in versions(deploy)] == [True]
    serial = state().serial
    deploy("apply", application, *YES)
    assert state().serial == serial


def test_nothing_to_go_back_to(deploy: Deploy, application: Path, world: World) -> None:
    deploy("apply", application, *YES)
    shown = deploy("rollback", "--auto-approve", expect=2)
    assert "There is no version to go back to." in shown
    shown = deploy("rollback", "--to", "7", "--auto-approve", expect=2)
    assert "it has the versions 1" in shown
    assert deploy("rollback", "--list").count("present") == 1


def test_nobody_to_ask_changes_nothing(deploy: Deploy, application: Path, world: World, engine: PretendEngine) -> None:
    deploy("apply", application, *YES)
    change(application, "totalNodes: 3", "totalNodes: 4")
    deploy("apply", application, *YES)
    serial = state().serial
    assert "Nobody is there to approve" in deploy("rollback", expect=2)
    assert state().serial == serial


def test_images_that_are_kept_are_used_again_though_the_sources_changed(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine
) -> None:
    source = application.parent / "src" / "blurry-faces" / "main.py"
    deploy("apply", application, *YES)
    digest = state().instances["image-blurry-faces"].attributes["digest"]
    source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    deploy("apply", application, *YES)
    assert state().instances["image-blurry-faces"].attributes["digest"] != digest
    engine.images[str(digest)] = str(digest)
    shown = deploy("rollback", "--auto-approve")
    assert f"image image-blurry-faces {str(digest)[:19]}…: kept by the container engine" in shown
    assert "image image-mask-detector" in shown
    assert "in use now" in shown
    services = state().instances
    assert services["image-blurry-faces"].attributes["digest"] == digest
    assert services["service-blurry-faces"].attributes["image_digest"] == digest


def test_images_that_are_gone_are_told_before_anything_is_changed(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine
) -> None:
    source = application.parent / "src" / "blurry-faces"
    deploy("apply", application, *YES)
    (source / "main.py").write_text("# other\n", encoding="utf-8")
    deploy("apply", application, *YES)
    before = state()
    world.log.clear()
    shown = deploy("rollback", "--auto-approve", expect=1)
    assert "Images of that version are gone." in shown
    assert "image-blurry-faces" in shown
    assert "version control" in shown
    assert state().instances == before.instances
    assert world.log == []
    shutil.copytree(
        Path(__file__).resolve().parents[3] / "examples/mask-detection/src/blurry-faces", source, dirs_exist_ok=True
    )
    assert "built again from the same sources" in deploy("rollback", "--auto-approve")


def test_a_pulled_image_whose_name_means_another_one_now(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by its identifier, and its instance is planned anew, since by its name nothing has changed."""
    deploy("apply", application, *YES)
    version = state().versions[-1]
    wanted, _ = want(target_of(version, NAME))
    image = wanted.instances["image-blurry-faces"]
    pulled = type(image)(
        image.address, image.node, image.type, properties={"image": "registry.example/blurry:1"}, operations={}
    )
    others = type(wanted)(wanted.profile, {pulled.address: pulled})
    engine.images = {version.images[image.address]: version.images[image.address]}
    engine.images["registry.example/blurry:1"] = "sha256:another"
    monkeypatch.setattr(rollback, "image_available", lambda _reference: False)
    (found,) = find_images(version, others, None)
    assert (found.source, found.name) == (ImageSource.KEPT, "registry.example/blurry:1")
    named: list[tuple[str, str]] = []
    monkeypatch.setattr(rollback, "give_name", lambda _client, digest, name: named.append((digest, name)))
    rollback.restore_names([found])
    assert named == [(version.images[image.address], "registry.example/blurry:1")]
    engine.images = {}
    (found,) = find_images(version, others, None)
    assert found.source is ImageSource.LOST
    assert "registry.example/blurry:1" in found.detail


def test_as_events(
    deploy: Deploy, application: Path, world: World, engine: PretendEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy("apply", application, *YES)
    change(application, "totalNodes: 3", "totalNodes: 4")
    deploy("apply", application, *YES)
    assert main(["rollback", NAME, "--auto-approve", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["run-started", "run-finished"]
    assert events[-1]["outcome"] == "succeeded"
    assert {e["address"] for e in events if e["event"] == "change-finished"} >= {
        "layer1-rasppi[3]",
        "layer1-rasppi-k3s",
    }
