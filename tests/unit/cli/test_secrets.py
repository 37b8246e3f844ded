"""``deploy secrets``: names to everybody, a value only to who asks for it, and none from the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.cli.main import main
from orchestrator.state.folders import state_folder
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import InstanceRecord, Lifecycle
from orchestrator.state.secret_keys import find_keys
from orchestrator.state.secret_store import SealedSecretStore, open_secrets
from orchestrator.state.session import DeploymentSession

VALUE = "a-value-from-elsewhere"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / ".deploy"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store() -> SealedSecretStore:
    """A deployment of a cluster and an OSCAR, with its secrets."""
    session = DeploymentSession(LocalStateStore(state_folder("demo")), "demo")
    record = InstanceRecord("edge-k3s", "edge-k3s", "continuum.nodes.K3sCluster", lifecycle=Lifecycle.STARTED)
    session.record(replace(record, inputs={"properties.token": "secret:edge-token"}))
    oscar = InstanceRecord("edge-oscar", "edge-oscar", "continuum.nodes.Oscar", lifecycle=Lifecycle.STARTED)
    session.record(replace(oscar, inputs={"properties.password": "secret:edge-password"}))
    session.record(InstanceRecord("edge[0]", "edge", "continuum.nodes.Machine", attributes={"host_key": "k"}))
    kept = open_secrets("demo")
    for name in ("edge-token", "edge-password"):
        kept.get_or_create(name)
    kept.put("ssh-key", "-----BEGIN KEY-----\nthe-private-key-of-it\n")
    return kept


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))


def test_the_list_shows_everything_but_values(store: SealedSecretStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "list"]) == 0
    shown = "".join(capsys.readouterr())
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert lines["edge-password"].endswith("edge-oscar")
    assert lines["edge-token"].endswith("edge-k3s")
    assert lines["ssh-key"].endswith("edge[0]")
    assert "generated" in lines["edge-token"]
    for value in store.values():
        assert value not in shown


def test_the_list_as_json(store: SealedSecretStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.assign("other", "env:OTHER")
    store.rotate("edge-password")
    assert main(["secrets", "list", "--json", "--of", "demo"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["format_version"], content["deployment"]) == (1, "demo")
    found = {entry.pop("name"): entry for entry in content["secrets"]}
    assert found["other"].pop("changed")
    assert found["other"] == {
        "kind": "reference",
        "reference": "env:OTHER",
        "version": 1,
        "used_by": [],
        "waiting": [],
    }
    assert found["edge-password"]["used_by"] == [{"address": "edge-oscar", "version": 1}]
    assert (found["edge-password"]["version"], found["edge-password"]["waiting"]) == (2, ["edge-oscar"])


def test_one_value_is_shown_to_who_asks_for_it(store: SealedSecretStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "show", "edge-token"]) == 2, "standard output is no terminal here"
    assert store.get("edge-token") not in "".join(capsys.readouterr())
    assert main(["secrets", "show", "edge-token", "--reveal"]) == 0
    assert capsys.readouterr().out == f"{store.get('edge-token')}\n"
    assert main(["secrets", "show", "none", "--reveal"]) == 2
    assert "There is no such secret." in capsys.readouterr().err


@pytest.mark.usefixtures("store")
def test_a_value_is_given_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, f"{VALUE}\n".encode())
    assert main(["secrets", "set", "api-key", "--from", "-"]) == 0
    shown = "".join(capsys.readouterr())
    assert "demo: api-key is kept." in shown
    assert VALUE not in shown
    assert open_secrets("demo").get("api-key") == VALUE


@pytest.mark.usefixtures("store")
def test_a_reference_is_kept_as_one_and_looked_up(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_KEY", VALUE)
    assert main(["secrets", "set", "api-key", "--from", "env:API_KEY"]) == 0
    assert open_secrets("demo").get("api-key") == "env:API_KEY"
    (home / "key.txt").write_text(f"{VALUE}2\n", encoding="utf-8")
    assert main(["secrets", "set", "api-key", "--from", "file:key.txt"]) == 0
    assert open_secrets("demo").get("api-key") == f"file:{home}/key.txt"
    capsys.readouterr()
    assert main(["secrets", "show", "api-key", "--reveal"]) == 0
    assert capsys.readouterr().out == f"{VALUE}2\n"
    (home / "key.txt").unlink()
    assert main(["secrets", "show", "api-key", "--reveal"]) == 1
    assert f"file:{home}/key.txt" in capsys.readouterr().err


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("source", [VALUE, "env:NOT_SET_ANYWHERE", "file:not-there", "-"])
def test_what_cannot_be_a_source_changes_nothing(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, b"\n")
    assert main(["secrets", "set", "api-key", "--from", source]) in (1, 2)
    assert "There is nothing" not in capsys.readouterr().err
    assert open_secrets("demo").get("api-key") is None


def test_a_secret_can_be_given_before_the_first_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, VALUE.encode())
    assert main(["secrets", "set", "api-key", "--from", "-", "--of", "later"]) == 0
    assert open_secrets("later").get("api-key") == VALUE


def test_a_rotated_secret_waits_for_the_next_apply(
    store: SealedSecretStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.get("edge-password")
    assert main(["secrets", "rotate", "edge-password"]) == 0
    shown = "".join(capsys.readouterr())
    assert "The next apply brings it to edge-oscar" in shown
    fresh = open_secrets("demo")
    assert fresh.versions() == {"edge-password": 2}
    assert fresh.get("edge-password", 1) == before
    for value in fresh.values():
        assert value not in shown


def test_what_cannot_be_rotated_says_why(store: SealedSecretStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.assign("given", VALUE)
    store.assign("kept-outside", "env:API_KEY")
    for name, why in {
        "edge-token": "edge-k3s has it as its token",
        "ssh-key": "logs in to the machines",
        "given": "it was given",
        "kept-outside": "it is kept outside",
    }.items():
        assert main(["secrets", "rotate", name]) == 2
        shown = capsys.readouterr().err
        assert "This secret cannot be changed." in shown
        assert why in shown
    assert main(["secrets", "rotate", "--all"]) == 0
    shown = capsys.readouterr().out
    assert "edge-password has a new value" in shown
    assert "edge-token was left alone" in shown
    assert open_secrets("demo").versions() == {"edge-password": 2}


def test_a_token_that_is_in_use_cannot_be_set_either(
    store: SealedSecretStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.get("edge-token")
    pipe(monkeypatch, VALUE.encode())
    assert main(["secrets", "set", "edge-token", "--from", "-"]) == 2
    assert "edge-k3s has it as its token" in capsys.readouterr().err
    assert open_secrets("demo").get("edge-token") == before
    for name in ("ssh-key", "kubeconfig-edge-k3s"):
        pipe(monkeypatch, VALUE.encode())
        assert main(["secrets", "set", name, "--from", "-"]) == 2
        assert "This secret cannot be changed." in capsys.readouterr().err


def test_a_new_key_seals_the_same_values(store: SealedSecretStore, capsys: pytest.CaptureFixture[str]) -> None:
    before = {secret.name: secret.values for secret in store.entries()}
    sealed = state_folder("demo").parent / "secrets" / "sealed.json"
    old = json.loads(sealed.read_bytes())["key"]
    assert main(["secrets", "rotate", "--key"]) == 0
    new = json.loads(sealed.read_bytes())["key"]
    assert new != old
    assert new in capsys.readouterr().out
    assert {secret.name: secret.values for secret in open_secrets("demo").entries()} == before


def test_a_missing_key_is_told_without_changing_anything(
    store: SealedSecretStore, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed = state_folder("demo").parent / "secrets" / "sealed.json"
    before = sealed.read_bytes()
    monkeypatch.setenv("DEPLOY_SECRETS_KEY_FILE", str(home / "elsewhere.key"))
    for arguments in (["list"], ["show", "edge-token", "--reveal"], ["rotate", "--all"], ["rotate", "--key"]):
        assert main(["secrets", *arguments]) == 1, arguments
        shown = capsys.readouterr()
        assert "The secrets cannot be opened." in shown.err
        assert str(home / "elsewhere.key") in shown.err
        assert "Traceback" not in shown.err
        for value in store.values():
            assert value not in shown.out + shown.err
    assert sealed.read_bytes() == before
    assert not (home / "elsewhere.key").exists()


def test_a_fresh_key_can_be_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "new-key"]) == 0
    monkeypatch.setenv("DEPLOY_SECRETS_KEY", capsys.readouterr().out.strip())
    assert len(find_keys().read()) == 1
    open_secrets("demo").put("a", VALUE)
    assert open_secrets("demo").get("a") == VALUE


@pytest.mark.parametrize("arguments", [[], ["x", "--all"], ["--all", "--key"]])
def test_it_has_to_be_said_what_to_rotate(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "rotate", *arguments]) == 2
    assert "Say what to rotate." in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["validate"], ["compile", "-o", "compiled"]])
def test_what_needs_no_secret_does_not_load_the_cipher(arguments: list[str], home: Path) -> None:
    example = Path(__file__).resolve().parents[3] / "examples" / "mask-detection" / "production.yaml"
    files = [] if arguments == ["--version"] else [str(example)]
    program = (
        "import sys\n"
        "from orchestrator.cli.main import main\n"
        "try:\n"
        f"    code = main({[*arguments, *files]!r})\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        "sys.exit(code or any(name.partition('.')[0] == 'cryptography' for name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
