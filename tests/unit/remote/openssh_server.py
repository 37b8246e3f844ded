"""OpenSSH servers on loopback, each with a configuration, host key and authorized keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.remote.keys import generate_key, public_half
from orchestrator.remote.target import SshTarget

_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"])
USER = getpass.getuser()


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs.

    Attributes:
        port: Where it listens on 127.0.0.1.
        host_key: The public key that it shows.
        log: What it wrote.
    """

    port: int
    host_key: str
    log: Path

    def target(self, key_file: Path | None, host_key: str | None = None, jump: SshTarget | None = None) -> SshTarget:
        """The server as a machine that the person who runs the tests logs in to."""
        return SshTarget("127.0.0.1", self.port, USER, key_file, self.host_key if host_key is None else host_key, jump)


def write_key(path: Path, passphrase: str = "", kind: str = "ed25519", form: str = "RFC4716") -> str:
    """A key pair made by OpenSSH itself; gives the public half."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-m", form, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return path.with_name(path.name + ".pub").read_text(encoding="ascii")


@contextmanager
def openssh_server(
    folder: Path, *authorized: str, settings: str = "", port: int = 0, host_key: str = ""
) -> Iterator[Server]:
    """A server for the time of the block.

    Args:
        folder: An empty one for its files.
        authorized: Public keys that may log in.
        settings: Lines of its configuration.
        port: Where to listen; any free one if 0.
        host_key: Private half of the key that it shows; one of its own if empty.
    """
    program = shutil.which("sshd", path=_PLACES)
    if program is None:
        pytest.skip("no OpenSSH server is installed (Debian: apt-get install openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir()
    private, public = (host_key, public_half(host_key)) if host_key else generate_key()
    key = folder / "host_key"
    key.touch(mode=0o600)
    key.write_text(private, encoding="ascii")
    (folder / "authorized_keys").write_text("".join(f"{line.strip()}\n" for line in authorized), encoding="ascii")
    port = port or _free_port()
    configuration = folder / "sshd_config"
    # What comes first counts.
    configuration.write_text(
        f"{settings}\nListenAddress 127.0.0.1:{port}\nHostKey {key}\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\nAcceptEnv LC_*\n",
        encoding="ascii",
    )
    log = folder / "log"
    with log.open("wb") as stderr:
        command = [program, "-D", "-e", "-f", str(configuration)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    (folder / "pid").write_text(f"{process.pid}\n", encoding="ascii")
    try:
        _await(port, process, log)
        yield Server(port, public, log)
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        else:
            return
    pytest.fail("The OpenSSH server did not come up.")
