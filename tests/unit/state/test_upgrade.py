"""States that earlier versions wrote are read, and go on in the present form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import KEPT_VERSIONS, SCHEMA_VERSION, InstanceRecord, Lifecycle, State
from orchestrator.state.session import DeploymentSession

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures" / "state"
NAME = "mask-detection-rehearsal"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The files of schema 1 as its program left them in the middle of its second apply."""
    folder = tmp_path / "state"
    shutil.copytree(FIXTURES / "schema-1", folder)
    return folder


def open_store(folder: Path) -> LocalStateStore:
    return LocalStateStore(folder, reread_pause=0)


def loaded(folder: Path) -> State:
    state = open_store(folder).load()
    assert state is not None
    return state


def schemas(file: Path) -> list[int]:
    """The schema of every line of a journal."""
    return [json.loads(line)["schema"] for line in file.read_bytes().splitlines()]


def check_content(state: State) -> None:
    """What schema 1 held, all of it."""
    assert (state.deployment, state.lineage) == (NAME, "0123456789abcdef0123456789abcdef")
    assert (state.template.splitlines()[1], state.profile) == ("# second", "local")
    assert (state.profile_options, state.application_root) == ({"k3s": "standin"}, "/srv/mask-detection")
    assert list(state.instances) == ["layer1-rasppi[0]", "layer1-rasppi-k3s", "blurry-faces"]
    machine, cluster, service = state.instances.values()
    assert (machine.lifecycle, machine.attributes["port"]) == (Lifecycle.STARTED, 22)
    assert cluster.pending is not None
    assert (cluster.pending.action, cluster.dependencies) == ("update", ("layer1-rasppi[0]",))
    assert (service.lifecycle, service.generation) == (Lifecycle.ERROR, 2)


def test_everything_of_schema_1_is_read(older: Path) -> None:
    state = loaded(older)
    check_content(state)
    assert state.serial == 10
    assert state.versions == (), "whether that apply was complete is not told by schema 1"


def test_reading_an_older_state_changes_no_file(older: Path) -> None:
    before = {file.name: file.read_bytes() for file in older.iterdir()}
    loaded(older)
    assert {file.name: file.read_bytes() for file in older.iterdir()} == before


def test_an_upgrade_in_the_middle_of_a_journal_reads(older: Path) -> None:
    session = DeploymentSession(open_store(older), NAME)
    session.record(InstanceRecord("new[0]", "new", "T"))
    session.keep_version("run-2")
    assert schemas(older / "journal.jsonl") == [1] * 5 + [SCHEMA_VERSION] * 2
    assert json.loads((older / "snapshot.json").read_bytes())["schema"] == 1
    state = loaded(older)
    assert state == session.state
    assert state.serial == 12
    assert [v.run for v in state.versions] == ["run-2"]


def test_the_end_of_a_run_writes_the_present_form_and_keeps_the_older_one_as_backup(older: Path) -> None:
    session = DeploymentSession(open_store(older), NAME)
    session.record(InstanceRecord("new[0]", "new", "T"))
    session.snapshot()
    assert json.loads((older / "snapshot.json").read_bytes())["schema"] == SCHEMA_VERSION
    assert json.loads((older / "snapshot.json.backup").read_bytes())["schema"] == 1
    assert loaded(older) == session.state


def test_a_damaged_snapshot_is_rebuilt_over_the_upgrade(older: Path) -> None:
    """From the older snapshot of schema 1 and two journals, the first of which has lines of both schemas."""
    session = DeploymentSession(open_store(older), NAME)
    session.record(InstanceRecord("new[0]", "new", "T"))
    session.snapshot()
    session.record(InstanceRecord("new[1]", "new", "T"))
    (older / "snapshot.json").write_bytes(b"")
    store = open_store(older)
    assert store.load() == session.state
    assert "rebuilt" in store.warnings[0]


def test_a_snapshot_of_schema_1_lost_after_the_upgrade_is_rebuilt(older: Path) -> None:
    expected = loaded(older)
    (older / "snapshot.json").unlink()
    assert loaded(older) == expected


def test_only_the_last_versions_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    session = DeploymentSession(open_store(tmp_path), "demo")
    for number in range(1, KEPT_VERSIONS + 3):
        session.set_template(f"template {number}", "local", {"k3s": "standin"}, "/srv/app")
        session.keep_version(f"run-{number}")
    kept = session.state.versions
    assert [v.number for v in kept] == [3, 4, 5, 6, 7]
    assert [v.template for v in kept] == [f"template {n}" for n in range(3, 8)]
    session.snapshot()
    state = loaded(tmp_path)
    assert state.versions == kept
    assert [state.is_at(v) for v in kept] == [False] * 4 + [True]


def test_the_same_as_the_newest_version_costs_no_step(tmp_path: Path) -> None:
    session = DeploymentSession(open_store(tmp_path), "demo")
    image = InstanceRecord("image", "image", "T", attributes={"reference": "a:1", "digest": "sha256:1"})
    session.set_template("template", "local")
    session.record(image)
    session.keep_version("run-1")
    serial = session.state.serial
    session.keep_version("run-2")
    assert session.state.serial == serial
    assert session.state.versions[0].images == {"image": "sha256:1"}


def test_the_present_template_is_not_written_twice(tmp_path: Path) -> None:
    session = DeploymentSession(open_store(tmp_path), "demo")
    session.set_template("of all templates the one", "local")
    session.keep_version("run-1")
    session.snapshot()
    assert (tmp_path / "snapshot.json").read_bytes().count(b"of all templates the one") == 1
    assert loaded(tmp_path).versions[0].template == "of all templates the one"
