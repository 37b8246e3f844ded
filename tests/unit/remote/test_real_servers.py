"""SSH against OpenSSH's own server: keys, agents, ways through other machines, host keys; ours and OpenSSH's client."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.errors import RemoteError
from orchestrator.remote.client_files import client_files, host_variables, target_from_dict, target_to_dict
from orchestrator.remote.host_keys import TRUSTED_FILE, KnownHosts, pin
from orchestrator.remote.keys import PassphraseError, fingerprint
from orchestrator.remote.ssh import (
    HostKeyError,
    LoginRefusedError,
    UnreachableError,
    open_session,
    run,
    wait_for_ssh,
)
from orchestrator.remote.target import SshTarget, known_hosts_name, openssh_command
from tests.unit.remote.openssh_server import Server, openssh_server, write_key

PASSPHRASE = "open 'sesame' \"now\""


@dataclass(frozen=True, slots=True)
class Place:
    """Keys and servers: a machine for each key, two that forward to others, one that does not."""

    folder: Path
    board: Server
    other: Server
    gate: Server
    second_gate: Server
    closed_gate: Server

    def key(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ssh")
    locked = write_key(folder / "locked", PASSPHRASE)
    old = write_key(folder / "old", PASSPHRASE, "rsa", "PEM")
    plain, gate = write_key(folder / "plain"), write_key(folder / "gate")
    with ExitStack() as stack:

        def serve(name: str, *keys: str, settings: str = "") -> Server:
            return stack.enter_context(openssh_server(folder / f"server-{name}", *keys, settings=settings))

        yield Place(
            folder,
            serve("board", locked, old),
            serve("other", plain),
            serve("gate", gate),
            serve("second", gate),
            serve("closed", gate, settings="AllowTcpForwarding no"),
        )


@pytest.fixture(autouse=True)
def _no_agent_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv(TRUSTED_FILE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent of the user, without keys."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield socket
    process.stdout.close()
    process.terminate()
    process.wait(10)


def add(key: Path, passphrase: str) -> None:
    """Load a key into the user's agent, as a person does."""
    say = key.with_name("say")
    say.write_text('#!/bin/sh\nprintf "%s\\n" "$WORDS"\n')
    say.chmod(0o700)
    settings = {"SSH_ASKPASS": str(say), "SSH_ASKPASS_REQUIRE": "force", "WORDS": passphrase}
    subprocess.run(["ssh-add", "-q", str(key)], env={**os.environ, **settings}, check=True, timeout=20)


def through_openssh(folder: Path, target: SshTarget) -> str:
    """What OpenSSH's own client brings back on the same way."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with client_files(folder, {"it": target}, 60) as files:
        command = openssh_command(files.targets["it"], files.known_hosts, ["echo", "$SSH_CONNECTION"], files.agent)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["locked", "old"])
def test_a_key_with_a_passphrase(place: Place, tmp_path: Path, name: str) -> None:
    target = replace(place.board.target(place.key(name)), passphrase=PASSPHRASE)
    assert run(target, "echo hello", 10).stdout == "hello\n"
    assert str(place.board.port) in through_openssh(tmp_path / "files", target)
    left = [path.read_text() for path in (tmp_path / "files").iterdir() if path.is_file()]
    assert not any("PRIVATE KEY" in text for text in left), "no file holds the key without its passphrase"
    assert PASSPHRASE not in repr(target)


def test_a_passphrase_that_is_missing_or_wrong(place: Place) -> None:
    with pytest.raises(PassphraseError, match="has a passphrase, and none is given"):
        run(place.board.target(place.key("locked")), "true", 5)
    with pytest.raises(PassphraseError, match="the one that is given is another"):
        run(replace(place.board.target(place.key("locked")), passphrase="open"), "true", 5)


def test_the_agent_holds_the_key_that_the_machine_names(place: Place, agent: Path, tmp_path: Path) -> None:
    assert agent.is_socket()
    add(place.key("plain"), "")
    add(place.key("locked"), PASSPHRASE)
    target = place.board.target(place.key("locked"))
    assert run(target, "echo hello", 10).stdout == "hello\n"
    assert str(place.board.port) in through_openssh(tmp_path / "files", target)


def test_without_a_key_of_its_own_a_machine_is_offered_those_of_the_agent(
    place: Place, agent: Path, tmp_path: Path
) -> None:
    assert agent.is_socket()
    add(place.key("gate"), "")
    with pytest.raises(LoginRefusedError, match=r"gate of the agent \(SHA256:.*It takes: publickey\.") as refused:
        run(place.other.target(None), "true", 5)
    assert "authorized_keys" in refused.value.resolution
    add(place.key("plain"), "")
    assert run(place.other.target(None), "echo hello", 10).stdout == "hello\n"
    assert str(place.other.port) in through_openssh(tmp_path / "files", place.other.target(None))


def test_without_any_key_it_says_so(place: Place) -> None:
    with pytest.raises(LoginRefusedError, match="was offered no key, since there is none") as refused:
        run(place.other.target(None), "true", 5)
    assert "ssh-add" in refused.value.resolution


def test_the_usual_files_are_tried(place: Place, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_bytes(place.key("plain").read_bytes())
    (tmp_path / ".ssh" / "id_rsa").write_bytes(place.key("old").read_bytes())
    assert run(place.other.target(None), "echo hello", 10).stdout == "hello\n"


def test_a_refusal_names_the_key_that_was_offered(place: Place) -> None:
    with pytest.raises(LoginRefusedError) as refused:
        run(place.board.target(place.key("plain")), "true", 5)
    public = place.key("plain.pub").read_text()
    assert f"does not accept the key {place.key('plain')} ({fingerprint(public)})" in refused.value.detail
    nobody = replace(place.other.target(place.key("plain")), user="nobody-like-that")
    with pytest.raises(LoginRefusedError, match="nobody-like-that@"):
        run(nobody, "true", 5)


def test_through_two_machines_each_with_a_key_of_its_own(place: Place, tmp_path: Path) -> None:
    first = place.gate.target(place.key("gate"))
    second = place.second_gate.target(place.key("gate"), jump=first)
    target = replace(place.board.target(place.key("locked"), jump=second), passphrase=PASSPHRASE)
    seen = run(target, "echo $SSH_CONNECTION", 10).stdout
    assert seen.split()[3] == str(place.board.port)
    assert through_openssh(tmp_path / "files", target).split()[3] == str(place.board.port)
    assert target_from_dict(json.loads(json.dumps(target_to_dict(target)))) == target
    assert "Connection from" not in place.closed_gate.log.read_text()


def test_what_goes_wrong_on_the_way_is_said_of_the_machine_on_the_way(place: Place) -> None:
    gate = place.gate.target(place.key("gate"))
    target = place.other.target(place.key("plain"), jump=gate)
    with pytest.raises(HostKeyError, match=r"on the way to .*") as changed:
        run(replace(target, jump=replace(gate, host_key=place.board.host_key)), "true", 5)
    assert fingerprint(place.board.host_key) in changed.value.detail
    assert fingerprint(place.gate.host_key) in changed.value.detail
    closed = place.closed_gate.target(place.key("gate"))
    with pytest.raises(UnreachableError, match="does not forward connections"):
        run(replace(target, jump=closed), "true", 5)
    with pytest.raises(UnreachableError, match=f":{place.gate.port}, which is on the way, cannot connect to it"):
        run(replace(target, port=1), "true", 5)
    with pytest.raises(LoginRefusedError, match="It is on the way to"):
        run(replace(target, jump=replace(gate, key_file=place.key("plain"))), "true", 5)


def test_a_name_that_is_not_known(place: Place) -> None:
    with pytest.raises(UnreachableError, match="the name is not known"):
        run(replace(place.other.target(place.key("plain")), host="no-such-host.invalid"), "true", 5)


def test_standard_input_larger_than_a_window_arrives(place: Place) -> None:
    content = os.urandom(3_000_000)
    with open_session(place.other.target(place.key("plain"))) as session:
        assert session.run("sha256sum", 30, content).stdout.startswith(hashlib.sha256(content).hexdigest())
        assert session.run("head -c 3", 10, b"abcdef" * 500_000).stdout == "abc", "it need not take all of it"


def test_host_keys_are_recorded_at_the_first_contact_and_changed_ones_refused(place: Place, tmp_path: Path) -> None:
    known = KnownHosts.of(tmp_path / "demo" / "state")
    told: list[str] = []
    gate = place.gate.target(place.key("gate"), host_key="")
    wanted = place.other.target(place.key("plain"), host_key="", jump=gate)
    found = wait_for_ssh(wanted, 20, threading.Event(), known, told.append)
    assert found.host_key == " ".join(place.other.host_key.split()[:2])
    assert [fingerprint(place.gate.host_key) in told[0], fingerprint(place.other.host_key) in told[1]] == [True, True]
    assert known.file.stat().st_mode & 0o777 == 0o600
    assert len(known.file.read_text().splitlines()) == 2
    again = pin(wanted, known, told.append)
    assert again == found
    assert len(told) == 2, "a second contact has nothing to tell"
    # Another machine answers there: what is recorded is not what it shows.
    name = known_hosts_name(place.board.target(None))
    known.file.write_text(f"{name} {place.other.host_key}\n")
    board = replace(place.board.target(place.key("locked"), host_key=""), passphrase=PASSPHRASE)
    with pytest.raises(HostKeyError) as changed:
        wait_for_ssh(board, 20, threading.Event(), known, told.append)
    assert fingerprint(place.board.host_key) in changed.value.detail
    assert fingerprint(place.other.host_key) in changed.value.detail
    assert "give the new fingerprint" in changed.value.resolution
    assert known.file.read_text() == f"{name} {place.other.host_key}\n"
    # As the resolution says.
    given = replace(board, host_key=fingerprint(place.board.host_key))
    assert wait_for_ssh(given, 20, threading.Event(), known, told.append).host_key in place.board.host_key
    assert known.find(board) == (" ".join(place.board.host_key.split()[:2]),)


def test_an_expected_fingerprint_is_held_against_what_is_shown(place: Place, tmp_path: Path) -> None:
    known = KnownHosts.of(tmp_path / "demo" / "state")
    wrong = place.other.target(place.key("plain"), host_key=fingerprint(place.board.host_key))
    with pytest.raises(HostKeyError, match="refused"):
        pin(wrong, known, lambda _: None)
    assert not known.file.exists()


def test_a_file_of_trusted_keys_leaves_nothing_to_the_first_contact(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted"
    monkeypatch.setenv(TRUSTED_FILE, str(trusted))
    known = KnownHosts.of(tmp_path / "demo" / "state")
    target = place.other.target(place.key("plain"), host_key="")
    with pytest.raises(RemoteError, match="host key is not known"):
        pin(target, known, lambda _: None)
    trusted.write_text(f"{known_hosts_name(target)} {place.other.host_key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(trusted)], check=True, timeout=20, capture_output=True)
    assert known_hosts_name(target) not in trusted.read_text(), "OpenSSH hashed the names"
    assert run(pin(target, known, lambda _: None), "echo hello", 10).stdout == "hello\n"
    assert not known.file.exists()


PLAY = """\
---
- name: Look
  hosts: all
  gather_facts: false
  tasks:
    - name: Say where this is
      ansible.builtin.command: printenv SSH_CONNECTION
      changed_when: false
      register: here
    - name: Report
      ansible.builtin.set_stats:
        data: {attributes: "{{ {inventory_hostname: here.stdout} }}"}
"""


def play(folder: Path, targets: dict[str, SshTarget], private_key: str = "") -> subprocess.CompletedProcess[str]:
    """Run the play over machines as an executor does."""
    hosts = {n: {"ansible_host": t.host, "ansible_port": t.port, "ansible_user": t.user} for n, t in targets.items()}
    (folder / "play.yml").write_text(PLAY)
    job = {
        "playbook": str(folder / "play.yml"),
        "config_file": "",
        "inventory": json.dumps({"all": {"hosts": hosts}}),
        "logins": {name: target_to_dict(target) for name, target in targets.items()},
        "private_key": private_key,
        "variables": {"ansible_python_interpreter": sys.executable},
        "secrets": [PASSPHRASE],
        "log_file": str(folder / "log"),
        "timeout": 60,
    }
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.executors.ansible_process"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_key_that_a_play_cannot_open_is_said_in_words(place: Place, tmp_path: Path) -> None:
    done = play(tmp_path, {"it": replace(place.board.target(place.key("locked")), passphrase="another")})
    told, end = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, end["status"]) == (1, "failed")
    assert "the one that is given is another" in told["text"]
    assert "Traceback" not in done.stderr


def test_a_play_goes_the_same_ways(place: Place, tmp_path: Path) -> None:
    gate = place.gate.target(place.key("gate"))
    # Two machines of one address behind different machines: neither key nor connection is taken for the other's.
    behind = place.second_gate.target(place.key("gate"), jump=gate)
    targets = {
        "locked": replace(place.board.target(place.key("locked"), jump=behind), passphrase=PASSPHRASE),
        "direct": replace(place.board.target(place.key("old")), passphrase=PASSPHRASE),
        "plain": place.other.target(Path("id_ed25519"), jump=gate),
    }
    done = play(tmp_path, targets, place.key("plain").read_text())
    stats = [e for e in map(json.loads, done.stdout.splitlines()) if e["kind"] == "stats"]
    assert not done.returncode, done.stdout + done.stderr
    seen = {name: text.split()[3] for name, text in stats[0]["attributes"].items()}
    assert seen == {name: str(target.port) for name, target in targets.items()}
    assert PASSPHRASE not in (tmp_path / "log").read_text() + done.stdout


def test_variables_for_ansible_are_no_templates(tmp_path: Path, place: Place) -> None:
    target = replace(place.other.target(place.key("plain")), become_password='{{ "a" }}\n"')
    with client_files(tmp_path, {"it": target}, 60) as files:
        text = host_variables(files, "it")
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": {"it": {"ansible_connection": "local"}}}}))
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "it.yaml").write_text(text)
    command = [
        str(Path(sys.executable).with_name("ansible")),
        "-i",
        str(tmp_path / "inventory.json"),
        "it",
        "-m",
        "debug",
    ]
    done = subprocess.run(
        [*command, "-a", "msg={{ ansible_become_password | b64encode }}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = base64.b64encode(target.become_password.encode()).decode()
    assert expected in done.stdout, done.stdout + done.stderr


def test_a_machine_that_several_ask_for_its_key_is_told_of_once(place: Place, tmp_path: Path) -> None:
    known = KnownHosts.of(tmp_path / "demo" / "state")
    told: list[str] = []
    target = place.other.target(place.key("plain"), host_key="")
    threads = [threading.Thread(target=pin, args=(target, known, told.append)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(told) == 1
    assert len(known.file.read_text().splitlines()) == 1
