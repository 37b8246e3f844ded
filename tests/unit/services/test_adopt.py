"""A machine that was made by hand becomes one of a deployment, over OpenSSH's own server in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.engine.operations import creation_token
from orchestrator.providers.base import Machine, MachineState
from orchestrator.remote.keys import fingerprint
from orchestrator.services.deployment import open_for_reading
from orchestrator.state.model import Lifecycle, State
from tests.unit.pretend_cloud import Sky
from tests.unit.remote.openssh_server import USER, Server, openssh_server, write_key

Deploy = Callable[..., tuple[str, str]]
NODE = "layer2-cloudvm"


@pytest.fixture
def deploy(capsys: pytest.CaptureFixture[str]) -> Deploy:
    def run(*arguments: object, expect: int = 0) -> tuple[str, str]:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        return shown.out, shown.err

    return run


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    example = Path(__file__).resolve().parents[3] / "examples" / "mask-detection" / "production.yaml"
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "deploy"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    text = example.read_text(encoding="utf-8").replace("ost://cloud.example.org/", "aws://one/")
    path = tmp_path / "production.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def server(tmp_path: Path, sky: Sky) -> Iterator[Server]:
    public = write_key(tmp_path / "owner")
    keys = tmp_path / "home" / ".ssh" / "authorized_keys"
    with openssh_server(
        tmp_path / "machine",
        public,
        settings=f"AuthorizedKeysFile {keys} {tmp_path}/machine/%s" % ("authorized_keys")
        + f"\nSetEnv HOME={tmp_path}/home",
    ) as running:
        here = Machine("i-9", "", "", MachineState.RUNNING, "127.0.0.1", running.port, "deploy", "", {"flavor": "big"})
        sky.machines["one", "i-9"] = None, here
        yield running


def state() -> State:
    found = open_for_reading("mask-detection").state
    assert found is not None
    return found


def test_it_is_recorded_as_an_apply_would_and_planned_as_it_is(
    file: Path, server: Server, deploy: Deploy, tmp_path: Path, sky: Sky
) -> None:
    login = ("--user", USER, "--key", tmp_path / "owner", "--host-key", fingerprint(server.host_key))
    out, _ = deploy("import", file, f"{NODE}[0]", "i-9", *login, "--ssh-from", "203.0.113.7/32", "--json")
    told = json.loads(out)
    assert (told["machine_id"], told["user"], told["host_key"]) == ("i-9", USER, server.host_key)
    record = state().instances[f"{NODE}[0]"]
    assert (record.lifecycle, record.pending, record.generation) == (Lifecycle.STARTED, None, 1)
    assert record.attributes["flavor"] == "big"
    owner, machine = sky.machines["one", "i-9"]
    assert owner is not None
    assert (owner.lineage, machine.token) == (state().lineage, creation_token(state().lineage, record.address, 1))
    out, _ = deploy("plan", file, "--ssh-from", "203.0.113.7/32", "--json")
    changes = {change["address"]: change for change in json.loads(out)["changes"]}
    assert changes[record.address]["action"] == "no-op", changes[record.address]["reasons"]
    deploy("ssh", "mask-detection", record.address, "--", "true")
    out, err = deploy("import", file, f"{NODE}[0]", "i-9", *login, expect=2)
    assert "There is a machine already." in err
    out, err = deploy("import", file, f"{NODE}[1]", "i-9", *login, expect=2)
    assert "The machine is in the state already." in err


def test_a_machine_that_is_anothers_is_refused_and_leaves_no_trace(
    file: Path, server: Server, deploy: Deploy, sky: Sky
) -> None:
    del server
    _, machine = sky.machines["one", "i-9"]
    from orchestrator.providers.base import DeploymentTag

    sky.machines["one", "i-9"] = DeploymentTag("other", "its"), machine
    _, err = deploy("import", file, f"{NODE}[0]", "i-9", expect=1)
    assert "it belongs to other" in err
    assert state().instances == {}


def test_what_nobody_can_log_in_to_can_be_imported_again(
    file: Path, server: Server, deploy: Deploy, tmp_path: Path
) -> None:
    write_key(tmp_path / "stranger")
    _, err = deploy("import", file, f"{NODE}[0]", "i-9", "--user", USER, "--key", tmp_path / "stranger", expect=1)
    assert "does not accept" in err
    assert state().instances[f"{NODE}[0]"].lifecycle is Lifecycle.ERROR
    deploy("import", file, f"{NODE}[0]", "i-9", "--user", USER, "--key", tmp_path / "owner")
    assert state().instances[f"{NODE}[0]"].attributes["host_key"] == server.host_key
    deploy("import", "mask-detection", f"{NODE}[1]", "i-8", expect=1)


def test_only_machines_of_clouds_that_can_be_reached_are_imported(file: Path, deploy: Deploy, sky: Sky) -> None:
    del sky
    _, err = deploy("import", file, "layer1-rasppi[0]", "i-9", expect=2)
    assert "This is no machine of a cloud." in err
    _, err = deploy("import", file, f"{NODE}[1]", "i-9", expect=2)
    assert f"reached through {NODE}[0]" in err
    _, err = deploy("import", file, f"{NODE}[0]", "i-9", "--key", "/none/such", expect=2)
    assert "The key is not there." in err
