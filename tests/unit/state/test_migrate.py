"""Copying every state to another place: nothing is lost on any way, and nothing is switched before that is proved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import LockedError, StateError, UsageError
from orchestrator.services.migrate import migrate
from orchestrator.state.backend import Backend, choice_file, choose, chosen_url, lock_of, open_backend
from orchestrator.state.folders import find_deployment, list_deployments, secrets_folder
from orchestrator.state.model import State
from orchestrator.state.secret_store import open_secrets
from tests.unit.state.conftest import PLACES, fresh_place
from tests.unit.state.test_backends import filled, instance

Open = Callable[[str], Backend]
WAYS = [(a, b) for a in PLACES for b in PLACES if a != b]


def quiet(_line: str) -> None:
    """Nobody listens."""


def read(url: str, name: str) -> tuple[State | None, bytes | None]:
    backend = open_backend(url)
    try:
        stored = backend.secrets_document(name).read()
        return backend.state_store(name).load(), stored.content if stored else None
    finally:
        backend.close()


@pytest.mark.parametrize(("first", "second"), WAYS)
def test_a_round_trip_loses_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, open_place: Open, first: str, second: str
) -> None:
    here, there = fresh_place(request, first, tmp_path), fresh_place(request, second, tmp_path)
    choose(here)
    backend = open_backend()
    states = {name: filled(backend, name).state for name in ("demo", "demo-rehearsal")}
    open_secrets("demo", backend.secrets_document("demo")).put("token", "a-value-of-its-own")
    before = {name: read(here, name) for name in states}
    told: list[str] = []
    done = migrate(there, "deploy state migrate", told.append)
    assert chosen_url() == there
    assert not done.overruled
    assert [state.deployment for state in done.states] == ["demo", "demo-rehearsal"]
    assert {name: read(there, name) for name in states} == before
    assert list_deployments() == ("demo", "demo-rehearsal")
    assert open_secrets("demo", open_place(there).secrets_document("demo")).get("token") == "a-value-of-its-own"
    assert len(told) == 2

    changed = filled(open_place(there), "third").state
    state = states["demo"]
    open_place(there).state_store("demo").install(replace(state, serial=state.serial + 5))
    open_secrets("demo", open_place(there).secrets_document("demo")).put("another", "value")
    after = {name: read(there, name) for name in (*states, "third")}
    migrate(here, "deploy state migrate", quiet)
    assert {name: read(here, name) for name in after} == after
    assert after["third"][0] == changed
    assert list_deployments() == ("demo", "demo-rehearsal", "third")


def test_secrets_of_older_versions_go_along(tmp_path: Path, open_place: Open) -> None:
    filled(open_backend("file:"))
    folder = secrets_folder("demo")
    folder.mkdir(mode=0o700)
    plain = folder / "secrets.json"
    plain.write_text(json.dumps({"schema": 1, "secrets": {"join": "value-of-old"}}), encoding="utf-8")
    plain.chmod(0o600)
    there = f"file://{tmp_path / 'there'}"
    migrate(there, "deploy state migrate", quiet)
    assert open_secrets("demo", open_place(there).secrets_document("demo")).get("join") == "value-of-old"
    assert not plain.exists()


def test_another_deployment_of_that_name_is_left_alone(tmp_path: Path, open_place: Open) -> None:
    filled(open_place("file:"))
    there = f"file://{tmp_path / 'there'}"
    other = filled(open_place(there)).state
    with pytest.raises(StateError, match="Another deployment of that name") as caught:
        migrate(there, "deploy state migrate", quiet)
    assert other.lineage in caught.value.detail
    assert read(there, "demo")[0] == other
    assert not choice_file().exists()


def test_a_newer_state_is_not_replaced(tmp_path: Path, open_place: Open) -> None:
    state = filled(open_place("file:")).state
    there = f"file://{tmp_path / 'there'}"
    open_place(there).state_store("demo").install(replace(state, serial=99))
    with pytest.raises(StateError, match="newer state"):
        migrate(there, "deploy state migrate", quiet)
    assert not choice_file().exists()


def test_what_reads_back_otherwise_is_not_switched_to(
    tmp_path: Path, open_place: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(open_place("file:"))
    there = f"file://{tmp_path / 'there'}"
    real = type(open_place(there).state_store("demo")).install
    monkeypatch.setattr(
        "orchestrator.state.local_store.LocalStateStore.install",
        lambda self, state: real(self, state.without_instance("edge[0]")),
    )
    with pytest.raises(StateError, match="does not read back the same"):
        migrate(there, "deploy state migrate", quiet)
    assert not choice_file().exists()


def test_nothing_is_copied_while_somebody_works(tmp_path: Path, open_place: Open) -> None:
    filled(open_place("file:"))
    there = f"file://{tmp_path / 'there'}"
    with lock_of("demo", open_place("file:")).acquire("deploy apply"), pytest.raises(LockedError):
        migrate(there, "deploy state migrate", quiet)
    assert open_place(there).deployments() == ()


def test_the_place_itself_is_no_other_place(open_place: Open) -> None:
    with pytest.raises(UsageError, match="there already"):
        migrate("file:", "deploy state migrate", quiet)


def test_the_command_says_what_it_did(
    tmp_path: Path, open_place: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = filled(open_place("file:")).state
    there = f"file://{tmp_path / 'there'}"
    assert main(["state", "migrate", "--to", there]) == 2
    assert "Nobody is there to approve" in capsys.readouterr().err
    assert main(["state", "migrate", "--to", there, "--auto-approve", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["to"] == str(tmp_path / "there")
    assert told["deployments"] == [
        {"deployment": "demo", "lineage": state.lineage, "serial": state.serial, "instances": 2}
    ]
    assert find_deployment(None) == "demo"
    monkeypatch.setenv("DEPLOY_STATE", there)
    assert main(["state", "migrate", "--to", "file:", "--auto-approve"]) == 0
    assert "DEPLOY_STATE still names another place" in capsys.readouterr().err


def test_instances_that_came_later_are_there_too(tmp_path: Path, open_place: Open) -> None:
    session = filled(open_place("file:"))
    there = f"file://{tmp_path / 'there'}"
    migrate(there, "deploy state migrate", quiet)
    session.record(instance(7))
    choose("file:")
    migrate(there, "deploy state migrate", quiet)
    assert read(there, "demo")[0] == session.state
