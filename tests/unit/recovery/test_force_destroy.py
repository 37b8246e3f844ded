"""``deploy destroy --force`` gets through whatever stands in the way, and names what it leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import OperationError, ProviderError
from orchestrator.executors.base import OperationRequest
from orchestrator.providers.base import Resource
from orchestrator.services import force_destroy
from orchestrator.state.folders import list_deployments, state_folder
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Lifecycle, State
from orchestrator.state.salvage import salvage
from orchestrator.state.session import DeploymentSession
from tests.unit.recovery.conftest import Deploy
from tests.unit.recovery.pretend import Thing, World

NAME = "mask-detection-rehearsal"
YES = ("--rehearse", "--auto-approve")
FORCE = ("destroy", NAME, "--force", "--auto-approve")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a provider that is away for good."""
    monkeypatch.setattr(force_destroy, "_OPENINGS", (0.0, 0.0))


@pytest.fixture
def applied(deploy: Deploy, application: Path, world: World) -> World:
    """The example, applied."""
    deploy("apply", application, *YES)
    return world


def state() -> State:
    found = LocalStateStore(state_folder(NAME)).load()
    assert found is not None
    return found


def edit(*records: InstanceRecord) -> None:
    """Put records into the state, as no apply would write them."""
    session = DeploymentSession(LocalStateStore(state_folder(NAME)), NAME)
    for record in records:
        session.record(record)
    session.snapshot()


def test_without_trouble_it_is_a_destroy(deploy: Deploy, applied: World) -> None:
    shown = deploy(*FORCE)
    assert "nothing is left" in shown
    assert applied.things == {}
    assert list_deployments() == ()
    assert "destroyed before" in deploy(*FORCE)


def test_what_fails_keeps_nothing_else_and_goes_with_its_machines(deploy: Deploy, applied: World) -> None:
    """Nothing but machines can be removed: what is on them is gone with them; images are not, and are named."""

    def fail(request: OperationRequest) -> None:
        if not request.instance.provider:
            raise OperationError("It broke.", detail=f"{request.record.address} cannot be reached.")

    applied.trouble = fail
    shown = deploy(*FORCE, expect=1)
    assert applied.addresses("Machine") == []
    assert set(state().instances) == {"image-blurry-faces", "image-mask-detector"}
    assert "11 instances were removed" in shown
    assert "image-blurry-faces: ComponentImage: reference continuum-deploy/image-blurry-faces:" in shown
    assert "image-blurry-faces cannot be reached." in shown
    applied.trouble = lambda _request: None
    assert "nothing is left" in deploy(*FORCE)
    assert list_deployments() == ()


def test_a_fault_of_the_program_keeps_nothing_else(deploy: Deploy, applied: World) -> None:
    def fail(request: OperationRequest) -> None:
        if request.record.address == "image-blurry-faces":
            raise KeyError("attribute")

    applied.trouble = fail
    shown = deploy(*FORCE, expect=1)
    assert set(state().instances) == {"image-blurry-faces"}
    assert "A record is damaged." in shown


def test_a_provider_that_is_away(deploy: Deploy, applied: World) -> None:
    def fail(_request: OperationRequest) -> None:
        raise ProviderError("The provider does not answer.", detail="It is away.")

    applied.away, applied.trouble = True, fail
    machines = applied.addresses("Machine")
    shown = deploy(*FORCE, expect=1)
    assert "whatever carries the tag at provider local" in shown
    assert "layer1-rasppi[0]: " in shown
    assert "machine_id " in shown
    assert applied.addresses("Machine") == machines
    assert set(machines) <= set(state().instances)
    applied.away, applied.trouble = False, lambda _request: None
    deploy(*FORCE)
    assert applied.things == {}


def test_forget_drops_the_state_and_says_what_is_left(deploy: Deploy, applied: World) -> None:
    def fail(_request: OperationRequest) -> None:
        raise ProviderError("The provider does not answer.")

    applied.away, applied.trouble = True, fail
    shown = deploy(*FORCE, "--forget", expect=1)
    assert "The state is dropped all the same" in shown
    assert "machine_id " in shown
    assert list_deployments() == ()


def test_forget_alone_is_refused(deploy: Deploy, applied: World) -> None:
    assert "--forget needs --force" in deploy("destroy", "--forget", "--auto-approve", expect=2)


def test_what_the_state_does_not_know_is_found_by_its_tag(deploy: Deploy, applied: World) -> None:
    applied.things["lost"] = Thing("layer1-rasppi[7]", "Machine", state().lineage)
    applied.things["foreign"] = Thing("layer1-rasppi[7]", "Machine", "another lineage")
    applied.leftovers = [Resource("network", "net-1", "continuum-net")]
    shown = deploy(*FORCE, expect=1)
    assert list(applied.things) == ["foreign"]
    assert "(not in the state): network continuum-net (net-1): it is still listed" in shown


def test_records_that_make_no_sense(deploy: Deploy, applied: World) -> None:
    known = state().instances
    edit(
        InstanceRecord("odd[x]", "odd", "T", attributes={"machine_id": "i-0815"}),
        InstanceRecord("a", "a", "T", inputs={"operations.delete": "no.such.Artifact:x"}, dependencies=("b",)),
        InstanceRecord("b", "b", "T", provider="nimbus", lifecycle=Lifecycle.STARTED, dependencies=("a",)),
        replace(known["service-blurry-faces"], attributes={}),
    )
    shown = deploy(*FORCE, expect=1)
    assert applied.things == {}
    assert set(state().instances) == {"odd[x]", "a"}
    assert "odd[x]: T: machine_id i-0815: its record is damaged" in shown
    assert "no.such.Artifact" in shown


def test_a_template_and_profile_that_nobody_knows_any_longer(deploy: Deploy, applied: World) -> None:
    session = DeploymentSession(LocalStateStore(state_folder(NAME)), NAME)
    session.set_template("no template", "gone")
    deploy(*FORCE)
    assert applied.things == {}
    assert list_deployments() == ()


def test_a_damaged_line_of_the_journal(deploy: Deploy, applied: World) -> None:
    edit(InstanceRecord("more[0]", "more", "T"))
    journal = state_folder(NAME) / "journal.jsonl"
    session = DeploymentSession(LocalStateStore(state_folder(NAME)), NAME)
    session.record(InstanceRecord("more[1]", "more", "T"))
    session.record(InstanceRecord("more[2]", "more", "T"))
    lines = journal.read_bytes().split(b"\n")
    lines[1] = lines[1][:40] + b"?" + lines[1][41:]
    journal.write_bytes(b"\n".join(lines))
    assert "The state is damaged." in deploy("destroy", NAME, "--auto-approve", expect=1)
    shown = deploy(*FORCE)
    assert "What could be read of it" in shown
    assert applied.things == {}
    assert list_deployments() == ()
    assert (state_folder(NAME).parent / "state.damaged-1" / "journal.jsonl").is_file()


def test_only_the_lineage_can_be_read(deploy: Deploy, applied: World) -> None:
    folder, lineage = state_folder(NAME), state().lineage
    for file in folder.iterdir():
        file.write_bytes(b'{"lineage":"%s", nothing else' % lineage.encode())
    images = applied.addresses("ImageBuild")
    shown = deploy(*FORCE)
    assert "(0 instances)" in shown
    assert applied.addresses("Machine") == []
    assert applied.addresses("ImageBuild") == images, "nothing lists these by tag"


def test_not_even_the_lineage_can_be_read(deploy: Deploy, applied: World) -> None:
    for file in state_folder(NAME).iterdir():
        file.write_bytes(b"?")
    before = dict(applied.things)
    shown = deploy(*FORCE, expect=1)
    assert applied.things == before, "by its name alone nothing is removed"
    assert "without the lineage it is not certain" in shown
    assert "layer1-rasppi[0]: machine " in shown
    assert list_deployments() == (NAME,)
    shown = deploy(*FORCE, "--forget", expect=1)
    assert "state.damaged-1" in shown
    assert list_deployments() == ()


def test_salvage_takes_every_whole_line_and_nothing_else(tmp_path: Path) -> None:
    session = DeploymentSession(LocalStateStore(tmp_path), "demo", make_lineage=lambda: "a" * 32)
    for number in range(4):
        session.record(InstanceRecord(f"edge[{number}]", "edge", "T"))
    session.snapshot()
    session.remove("edge[0]")
    session.record(InstanceRecord("edge[4]", "edge", "T"))
    for name, old in (("snapshot.json", b'"edge[1]":{'), ("journal.jsonl.backup", b'"edge[1]"')):
        file = tmp_path / name
        file.write_bytes(file.read_bytes().replace(old, b"{{{{"))
    found = salvage(tmp_path)
    assert found.lineage == "a" * 32
    assert sorted(found.records) == ["edge[2]", "edge[3]", "edge[4]"]


def test_two_lineages_are_none(tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_bytes(b'"lineage":"%s"' % (b"a" * 32))
    (tmp_path / "journal.jsonl").write_bytes(b'"lineage":"%s"' % (b"b" * 32))
    assert salvage(tmp_path).lineage == ""


def test_what_is_left_is_in_the_record_of_the_run(deploy: Deploy, applied: World) -> None:
    applied.leftovers = [Resource("network", "net-1", "continuum-net")]
    deploy(*FORCE, expect=1)
    runs = sorted((state_folder(NAME).parent / "runs").iterdir())
    error = json.loads((runs[-1] / "run.json").read_text(encoding="utf-8"))["error"]
    assert "network continuum-net (net-1)" in error["detail"]


def test_secrets_that_cannot_be_read(deploy: Deploy, applied: World) -> None:
    sealed = state_folder(NAME).parent / "secrets" / "sealed.json"
    sealed.parent.mkdir(mode=0o700, exist_ok=True)
    sealed.write_bytes(b"{")
    sealed.chmod(0o600)
    deploy(*FORCE)
    assert applied.things == {}
    assert list_deployments() == ()
    assert not sealed.exists()
