"""SSH against a real server of the same library, on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from orchestrator.errors import CancelledError, RemoteError
from orchestrator.remote import ssh
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import HostKeyError, LoginRefusedError, UnreachableError, run, wait_for_ssh
from orchestrator.remote.target import SshTarget, known_hosts_line, openssh_command


class _Session(paramiko.ServerInterface):
    def __init__(self, authorized: str) -> None:
        self._authorized = authorized

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() == self._authorized else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_answer, args=(channel, command.decode()), daemon=True).start()
        return True


def _answer(channel: paramiko.Channel, command: str) -> None:
    time.sleep(0.05)
    if command == "hang":
        while not channel.closed:
            time.sleep(0.01)
        return
    channel.sendall(f"ran {command}\n".encode())
    channel.sendall_stderr(b"e" * 200_000)
    channel.send_exit_status(3)
    channel.close()


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    private, public = generate_key()
    path = tmp_path / "id_ed25519"
    path.write_text(private)
    return path, public


@pytest.fixture
def server(key: tuple[Path, str]) -> Iterator[SshTarget]:
    """A server that takes the key; it lives on a free port."""
    host_private, host_public = generate_key()
    host_file = key[0].with_name("host_key")
    host_file.write_text(host_private)
    host_key = paramiko.Ed25519Key(filename=str(host_file))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    stop = threading.Event()
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            transport = paramiko.Transport(connection)
            transports.append(transport)
            transport.add_server_key(host_key)
            try:
                transport.start_server(server=_Session(key[1].split()[1]))
            except (paramiko.SSHException, OSError, EOFError):
                transport.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield SshTarget("127.0.0.1", listener.getsockname()[1], "deploy", key[0], host_public)
    stop.set()
    thread.join()
    for transport in transports:
        transport.close()
    listener.close()


def test_what_comes_together_with_the_end_is_not_lost(server: SshTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ssh._read

    def read_just_before(channel: paramiko.Channel, parts: tuple[list[bytes], list[bytes]]) -> bool:
        found, end = read(channel, parts), time.monotonic() + 5
        while not (channel.eof_received and channel.exit_status_ready()) and time.monotonic() < end:
            time.sleep(0.01)
        return found

    monkeypatch.setattr(ssh, "_read", read_just_before)
    result = run(server, "uptime", 10)
    assert (result.stdout, len(result.stderr)) == ("ran uptime\n", 200_000)


def test_runs_a_command_and_reads_both_streams(server: SshTarget) -> None:
    result = run(server, "true", 10)
    assert (result.exit_code, result.stdout, len(result.stderr)) == (3, "ran true\n", 200_000)


def test_a_command_that_takes_too_long_is_an_error(server: SshTarget) -> None:
    with pytest.raises(RemoteError, match="took too long"):
        run(server, "hang", 0.3)


def test_another_host_key_is_refused_at_once(server: SshTarget) -> None:
    pinned = replace(server, host_key=generate_key()[1])
    started = time.monotonic()
    with pytest.raises(HostKeyError, match="pinned to"):
        wait_for_ssh(pinned, 20, threading.Event())
    assert time.monotonic() - started < 5


def test_a_key_that_is_not_authorized_is_refused(server: SshTarget, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(generate_key()[0])
    with pytest.raises(LoginRefusedError, match="does not accept the key"):
        run(replace(server, key_file=other), "true", 5)


def test_waiting_ends_when_the_time_is_over_or_the_operator_wants_it(key: tuple[Path, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    target = SshTarget("127.0.0.1", port, "deploy", key[0], generate_key()[1])
    with pytest.raises(UnreachableError, match=r"refused.*Waited 0\.6 s for SSH to answer\.") as waited:
        wait_for_ssh(target, 0.6, threading.Event())
    assert not waited.value.transient, "it has had its time"
    with pytest.raises(UnreachableError, match="refused") as refused:
        run(target, "true", 5)
    assert refused.value.transient
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        wait_for_ssh(target, 20, cancel)


def test_something_else_on_the_port_is_told_apart(key: tuple[Path, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = SshTarget("127.0.0.1", silent.getsockname()[1], "deploy", key[0], generate_key()[1])
        with pytest.raises(UnreachableError, match="not as an SSH server"):
            wait_for_ssh(target, 0.6, threading.Event())


def test_an_unreadable_key_or_host_key_says_so(server: SshTarget, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="private key cannot be read"):
        run(replace(server, key_file=tmp_path / "none"), "true", 5)
    with pytest.raises(RemoteError, match="host key cannot be read"):
        run(replace(server, host_key="ssh-ed25519 !!"), "true", 5)


def test_openssh_gets_the_same_pin() -> None:
    target = SshTarget("10.0.0.2", 2222, "deploy", Path("/k"), "ssh-ed25519 AAAA comment")
    assert known_hosts_line(target) == "[10.0.0.2]:2222 ssh-ed25519 AAAA\n"
    assert known_hosts_line(replace(target, port=22)).startswith("10.0.0.2 ssh-ed25519")
    command = openssh_command(target, Path("/known hosts"), ["uname", "-m"])
    assert command[0] == "ssh"
    assert command[-4:] == ["deploy@10.0.0.2", "--", "uname", "-m"]
    assert "StrictHostKeyChecking=yes" in command


def test_a_jump_host_becomes_a_proxy_command() -> None:
    jump = SshTarget("1.2.3.4", 22, "gate", Path("/k 1"), "ssh-ed25519 AAAA")
    target = SshTarget("10.0.0.2", 22, "deploy", Path("/k"), "ssh-ed25519 BBBB", jump)
    proxy = next(word for word in openssh_command(target, Path("/kh")) if word.startswith("ProxyCommand="))
    assert proxy.endswith("-W %h:%p gate@1.2.3.4")
    assert "'/k 1'" in proxy
