"""``deploy state`` as a person uses it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.state.backend import lock_of, open_backend
from orchestrator.state.model import InstanceRecord, State
from orchestrator.state.session import DeploymentSession
from tests.unit.state.test_backends import filled

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> State:
    """A deployment of two machines and a cluster on them."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    session = filled(open_backend())
    session.record(replace(session.state.instances["edge[1]"], pending=None))
    session.record(
        InstanceRecord(
            "site",
            "site",
            "continuum.nodes.Cluster",
            inputs={
                "requirements.machine": ["edge[0]", "edge[1]"],
                "properties.at": {"get_attribute": ["edge", "host"]},
                "properties.label": "edge[0]",
            },
            dependencies=("edge[0]", "edge[1]"),
            wired={"edge[0]": 1, "edge[1]": 1},
        )
    )
    return session.state


def now() -> State:
    found = open_backend().state_store("demo").load()
    assert found is not None
    return found


def test_instances_and_deployments_are_listed(state: State, capsys: Shown) -> None:
    assert main(["state", "list"]) == 0
    shown = capsys.readouterr().out
    assert f"demo, serial {state.serial}" in shown
    assert all(address in shown for address in state.instances)
    assert main(["state", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["address"] for entry in listed["instances"]] == list(state.instances)
    with lock_of("demo", open_backend()).acquire("deploy apply"):
        assert main(["state", "list", "--all", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["deployments"]
    assert (entry["deployment"], entry["serial"], entry["instances"]) == ("demo", state.serial, 3)
    assert entry["lock"]["command"] == "deploy apply"
    assert main(["state", "list", "--all"]) == 0
    assert "demo" in capsys.readouterr().out


def test_one_instance_is_shown(state: State, capsys: Shown) -> None:
    assert main(["state", "show", "edge[0]", "demo"]) == 0
    assert 'host = "10.0.0.2"' in capsys.readouterr().out
    assert main(["state", "show", "edge[0]", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instance"]["attributes"] == {"host": "10.0.0.2"}
    assert main(["state", "show", "egde[0]"]) == 2
    assert "Did you mean edge[0]" in capsys.readouterr().err


def test_what_is_pulled_can_be_pushed(
    state: State, capsys: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["state", "pull"]) == 0
    text = capsys.readouterr().out
    document = json.loads(text)
    assert document["format_version"] == 1
    document["instances"]["edge[0]"]["attributes"]["host"] = "10.0.0.9"
    file = tmp_path / "state.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert main(["state", "push", str(file), "--auto-approve"]) == 0
    assert f"serial {state.serial + 1}" in capsys.readouterr().out
    after = now()
    assert after.instances["edge[0]"].attributes == {"host": "10.0.0.9"}
    assert after.versions == state.versions
    (backup,) = (tmp_path / "home" / "demo" / "pushed-over").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    assert json.loads(backup.read_text(encoding="utf-8")) == json.loads(text)

    monkeypatch.setattr("sys.stdin", io.StringIO(backup.read_text(encoding="utf-8")))
    assert main(["state", "push", "-", "--auto-approve"]) == 1
    assert "moved on meanwhile" in capsys.readouterr().err
    assert main(["state", "push", str(backup), "--auto-approve", "--force"]) == 0
    assert now() == replace(state, serial=after.serial + 1)


def test_a_state_of_another_lineage_needs_force(state: State, capsys: Shown, tmp_path: Path) -> None:
    main(["state", "pull"])
    document = json.loads(capsys.readouterr().out) | {"lineage": "f" * 32}
    file = tmp_path / "state.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert main(["state", "push", str(file), "--auto-approve"]) == 1
    assert "of another deployment" in capsys.readouterr().err
    assert now() == state
    assert main(["state", "push", str(file), "--auto-approve", "--force"]) == 0
    assert now().lineage == "f" * 32


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[]", "no JSON object"),
        ("{}", "schema version"),
        ('{"schema": 99}', "schema version 99"),
        ('{"schema": 2}', "lacks something"),
        ('{"schema": 2, "format_version": 9}', "format_version"),
    ],
)
def test_what_is_no_state_is_refused(state: State, capsys: Shown, tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(text, encoding="utf-8")
    assert main(["state", "push", str(file), "--auto-approve"]) == 2
    assert why in capsys.readouterr().err
    assert now() == state


def test_a_state_pulled_by_an_older_version_is_taken(state: State, capsys: Shown, tmp_path: Path) -> None:
    main(["state", "pull"])
    document = json.loads(capsys.readouterr().out) | {"schema": 1}
    del document["versions"]
    file = tmp_path / "state.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert main(["state", "push", str(file), "--auto-approve"]) == 0
    assert now() == replace(state, versions=(), serial=state.serial + 1)


def test_a_renamed_instance_keeps_all_that_depends_on_it(state: State, capsys: Shown) -> None:
    assert main(["state", "mv", "edge[0]", "gateway[0]"]) == 0
    after = now()
    assert "edge[0]" not in after.instances
    moved = after.instances["gateway[0]"]
    assert (moved.node, moved.attributes) == ("gateway", {"host": "10.0.0.2"})
    site = after.instances["site"]
    assert site.dependencies == ("gateway[0]", "edge[1]")
    assert site.wired == {"gateway[0]": 1, "edge[1]": 1}
    assert site.inputs["requirements.machine"] == ["gateway[0]", "edge[1]"]
    assert site.inputs["properties.at"] == {"get_attribute": ["edge", "host"]}
    assert site.inputs["properties.label"] == "edge[0]"
    assert main(["state", "mv", "edge[1]", "gateway[1]", "demo"]) == 0
    assert now().instances["site"].inputs["properties.at"] == {"get_attribute": ["gateway", "host"]}


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("edge[9]", "x", "no such instance"),
        ("edge[0]", "edge[1]", "at that address already"),
        ("edge[0]", "../x", "no address"),
    ],
)
def test_a_renaming_that_cannot_be_is_refused(state: State, capsys: Shown, source: str, target: str, why: str) -> None:
    assert main(["state", "mv", source, target]) == 2
    assert why in capsys.readouterr().err
    assert now() == state


def test_an_unfinished_instance_is_not_renamed(state: State, capsys: Shown) -> None:
    session = DeploymentSession(open_backend().state_store("demo"), "demo")
    filled(open_backend(), "other")
    assert main(["state", "mv", "edge[1]", "edge[5]", "other"]) == 1
    assert "begun and not ended" in capsys.readouterr().err
    assert session.state == state


def test_an_instance_is_forgotten_after_a_warning(state: State, capsys: Shown) -> None:
    assert main(["state", "rm", "edge[0]"]) == 2
    shown = capsys.readouterr().err
    assert "Nobody is there to approve" in shown
    assert "stays where it is" in shown
    assert "site needs it" in shown
    assert now() == state
    assert main(["state", "rm", "edge[0]", "--auto-approve"]) == 0
    assert now() == replace(state.without_instance("edge[0]"), serial=state.serial + 1)


def test_changes_by_hand_wait_for_nobody_and_are_refused_during_a_run(state: State, capsys: Shown) -> None:
    with lock_of("demo", open_backend()).acquire("deploy apply production.yaml"):
        assert main(["state", "rm", "edge[0]", "--auto-approve"]) == 1
        assert "deploy apply production.yaml" in capsys.readouterr().err
        assert main(["state", "unlock", "demo", "--auto-approve"]) == 1
        assert "The deployment is in use" in capsys.readouterr().err
    assert main(["state", "unlock", "demo", "--auto-approve"]) == 0
    assert "not locked" in capsys.readouterr().out
    assert now() == state
