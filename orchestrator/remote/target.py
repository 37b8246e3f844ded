"""A machine to be reached over SSH, and how OpenSSH's client is told of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECT_TIMEOUT = 10.0
"""Seconds for reaching a machine, for its banner and for logging in, each."""


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A machine and how to log in to it.

    Attributes:
        host: Address.
        port: Port.
        user: Login name.
        key_file: Private key in OpenSSH's form, without a passphrase.
        host_key: The machine's public host key, ``ssh-ed25519 AAAA…``; any other is refused.
        jump: Machine to go through.
    """

    host: str
    port: int
    user: str
    key_file: Path
    host_key: str
    jump: SshTarget | None = None

    @property
    def login(self) -> str:
        """``user@host:port``, for messages."""
        return f"{self.user}@{self.host}:{self.port}"


def known_hosts_line(target: SshTarget) -> str:
    """The line of a known_hosts file that pins the machine's key, with its newline."""
    name = target.host if target.port == 22 else f"[{target.host}]:{target.port}"
    return f"{name} {' '.join(target.host_key.split()[:2])}\n"


def openssh_options(known_hosts_file: Path) -> list[str]:
    """Options that bind OpenSSH's client to one known_hosts file and to nothing of the user's own configuration."""
    return [
        "-F",
        "/dev/null",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f"UserKnownHostsFile={known_hosts_file}",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "PasswordAuthentication=no",
        "-o",
        f"ConnectTimeout={CONNECT_TIMEOUT:.0f}",
        # A connection over which nothing comes any longer ends after a minute.
        "-o",
        "ServerAliveInterval=15",
        "-o",
        "ServerAliveCountMax=4",
    ]


def openssh_command(target: SshTarget, known_hosts_file: Path, command: Sequence[str] | None = None) -> list[str]:
    """Argument list for OpenSSH's client; without ``command`` it opens a shell."""
    arguments = ["ssh", *openssh_options(known_hosts_file), "-i", str(target.key_file), "-p", str(target.port)]
    if target.jump is not None:
        through = openssh_command(target.jump, known_hosts_file)
        destination = through.pop()
        arguments += ["-o", "ProxyCommand=" + " ".join(_quote(a) for a in [*through, "-W", "%h:%p", destination])]
    arguments.append(f"{target.user}@{target.host}")
    return [*arguments, "--", *command] if command else arguments


def _quote(word: str) -> str:
    return word if word == "%h:%p" else shlex.quote(word)
