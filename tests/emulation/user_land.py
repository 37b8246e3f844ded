"""A user land of another processor, reached by SSH on loopback: its programs are emulated, the kernel is this one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import wait_for_ssh
from orchestrator.remote.target import SshTarget
from tests.emulation.debian_root import ensure_root, unpack
from tests.emulation.foreign_binaries import Processor, registered

LOGIN_USER = "deploy"
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
_START_TIMEOUT = 120.0


@contextmanager
def running_user_land(processor: Processor, folder: Path) -> Iterator[SshTarget]:
    """Unpack it, start its SSH server in name spaces of its own, and remove all of that in the end.

    Skips the test where it cannot be had.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can start a user land of another processor")
    archive = ensure_root(processor)
    with registered(processor):
        root = unpack(archive, folder / "root")
        try:
            target = write_keys(root, folder, "127.0.0.1", free_port())
            with _sshd(root, target):
                wait_for_ssh(target, _START_TIMEOUT, threading.Event())
                yield target
        finally:
            shutil.rmtree(root)


def write_keys(root: Path, folder: Path, host: str, port: int) -> SshTarget:
    """Put a host key and a login key into a root file system, the private half of the latter into ``folder``."""
    host_private, host_public = generate_key()
    private, public = generate_key()
    (root / _HOST_KEY).touch(mode=0o600)
    (root / _HOST_KEY).write_text(host_private, encoding="ascii")
    authorized = root / "home" / LOGIN_USER / ".ssh" / "authorized_keys"
    authorized.write_text(f"{public}\n", encoding="ascii")
    os.chown(authorized, 1000, 1000)
    key = folder / "id_ed25519"
    key.touch(mode=0o600)
    key.write_text(private, encoding="ascii")
    return SshTarget(host, port, LOGIN_USER, key, host_public)


def sshd_command(host: str, port: int) -> list[str]:
    """How an SSH server is started in a root file system that ``write_keys`` was used on."""
    settings = {
        "ListenAddress": host,
        "Port": port,
        "HostKey": f"/{_HOST_KEY}",
        "PasswordAuthentication": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return ["/usr/sbin/sshd", "-f", "/dev/null", *options]


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _sshd(root: Path, target: SshTarget) -> Iterator[None]:
    (root / "run" / "sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
    # All of it ends with the first process of its name space.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", f"--root={root}", "--wd=/"]
    command += [*sshd_command(target.host, target.port), "-D", "-e"]
    with (root.parent / "sshd.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        server.kill()
        server.wait(20)
