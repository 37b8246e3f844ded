"""Machines that are there already, over real SSH servers on loopback; a script stands for sudo where one is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.errors import DeployError
from orchestrator.executors.login import login_to
from orchestrator.executors.places import HostPlace, _no_rights, _run
from orchestrator.remote.keys import generate_key, public_half
from orchestrator.remote.ssh import CommandResult, Session
from orchestrator.remote.target import SshTarget
from orchestrator.state.model import InstanceRecord
from tests.secrets_in_memory import memory_secrets
from tests.unit.remote.openssh_server import USER, Server, openssh_server, write_key

PROGRAM = "import json; print('a word before'); print(json.dumps({'asked': json.loads(REQUEST), 'é': 'ü'}))"
DEPLOYMENT_KEY = generate_key()[0]


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    """The owner's key, which has a passphrase."""
    path = tmp_path / "owner"
    write_key(path, "open sesame")
    return path


@pytest.fixture
def server(tmp_path: Path, owner: Path) -> Iterator[Server]:
    with openssh_server(tmp_path / "server", owner.with_suffix(".pub").read_text()) as running:
        yield running


def place(tmp_path: Path, server: Server, recorded: dict[str, Any] | None = None, **entry: Any) -> HostPlace:
    whole = {"host": "127.0.0.1", "port": str(server.port), "user": USER, **entry}
    secrets = memory_secrets({"ssh-key": DEPLOYMENT_KEY})
    return HostPlace("edge[0]", "lineage", whole, recorded or {}, secrets, tmp_path / "state")


def test_the_owner_logs_in_and_the_host_key_is_learned_once(
    tmp_path: Path, server: Server, owner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "open sesame")
    entry = {"key_file": str(owner), "key_passphrase": "env:WORD"}
    found = place(tmp_path, server, **entry)
    assert found.host_key == ""
    assert found.run(PROGRAM, {"x": 1}, 10, as_root=False) == {"asked": {"x": 1}, "é": "ü"}
    assert found.host_key == server.host_key
    assert (tmp_path / "state" / "known_hosts").is_file()
    assert place(tmp_path, server, **entry).run(PROGRAM, {}, 10, as_root=False)["asked"] == {}


def test_a_passphrase_that_is_not_there_is_told_only_where_it_is_needed(
    tmp_path: Path, server: Server, owner: Path
) -> None:
    entry = {"key_file": str(owner), "key_passphrase": "env:NOT_SET_ANYWHERE", "become_password": "env:NOR_THIS"}
    with pytest.raises(DeployError, match="A secret is not there") as missing:
        place(tmp_path, server, **entry).run(PROGRAM, {}, 10, as_root=False)
    assert "NOT_SET_ANYWHERE" in missing.value.detail
    keys = tmp_path / "server" / "authorized_keys"
    keys.write_text(keys.read_text() + public_half(DEPLOYMENT_KEY) + "\n")
    recorded = {"machine_id": f"{USER}@127.0.0.1:{server.port}#t", "host_key": server.host_key}
    assert place(tmp_path, server, recorded, **entry).run(PROGRAM, {}, 10, as_root=False)["asked"] == {}


def test_another_host_key_than_the_recorded_one_is_refused(tmp_path: Path, server: Server) -> None:
    recorded = {"host_key": generate_host_key(), "machine_id": "x"}
    with pytest.raises(DeployError, match="another host key"):
        place(tmp_path, server, recorded).run(PROGRAM, {}, 10, as_root=False)


def generate_host_key() -> str:
    return public_half(generate_key()[0])


def test_the_way_is_recorded_so_that_it_can_be_gone_again_with_our_key_at_its_end(
    tmp_path: Path, server: Server, owner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "open sesame")
    entry = {"key_file": str(owner), "key_passphrase": "env:WORD", "become_password": "env:WORD"}
    public = owner.with_suffix(".pub").read_text()
    with openssh_server(tmp_path / "gate", public) as gate:
        found = place(tmp_path, server, **entry, jump=f"{USER}@127.0.0.1:{gate.port}")
        assert found.run(PROGRAM, {}, 10, as_root=False)["asked"] == {}
        attributes = {
            "host": found.host,
            "port": found.port,
            "user": found.user,
            "host_key": found.host_key,
            **found.details,
        }
        assert "open sesame" not in repr(attributes)
        record = InstanceRecord("edge[0]", "edge", "T", attributes=attributes)
        target = login_to(record, memory_secrets({}), Path("of the deployment"), {})
    assert target.key_file == Path("of the deployment")
    assert target.jump is not None
    assert (target.jump.key_file, target.jump.passphrase) == (owner, "open sesame")
    assert (target.jump.host_key, target.jump.port) == (gate.host_key, gate.port)
    assert target.become_password == "open sesame"


class Here:
    """Stands for a session: commands run on this computer."""

    def __init__(self, password: str, path: Path) -> None:
        self.target = SshTarget("h", 22, "pi", None, "", become_password=password)
        self._path = path

    def run(self, command: str, timeout: float, stdin: bytes = b"") -> CommandResult:
        assert "the-word" not in command
        variables = {**os.environ, "PATH": f"{self._path}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["/bin/sh", "-c", command], input=stdin, capture_output=True, timeout=timeout, env=variables, check=False
        )
        return CommandResult(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("asks", [True, False])
def test_the_program_begins_behind_the_password_whether_sudo_asks_or_not(tmp_path: Path, asks: bool) -> None:
    sudo = tmp_path / "sudo"
    question = 'IFS= read -r word; [ "$word" = the-word ] || exit 1\n' if asks else ""
    # The shell reads a line byte by byte, as sudo does, so that the rest is left for the command.
    sudo.write_text(f'#!/bin/sh\n{question}while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    sudo.chmod(0o755)
    session = cast("Session", Here("the-word", tmp_path))
    assert _run(session, PROGRAM, {"x": 2}, 20, as_root=True)["asked"] == {"x": 2}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("sudo: a password is required", "sudo asks for a password, and none is given"),
        ("Sorry, try again.\nsudo: 3 incorrect password attempts", "does not take the password"),
        ("pi is not in the sudoers file.", "the user may not use sudo"),
        ("sh: 1: python3: not found", "there is no python3"),
        ("sudo: python3: command not found", "there is no python3"),
        ("Segmentation fault", "failed: Segmentation fault"),
    ],
)
def test_what_stands_in_the_way_is_told(said: str, reason: str) -> None:
    assert reason in _no_rights(SshTarget("h", 22, "pi", None, ""), said).detail
