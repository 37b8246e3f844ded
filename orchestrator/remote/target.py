"""A machine to be reached over SSH, and how OpenSSH's client is told of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
        key_file: Private key; ``None`` for what the user logs in with by hand: the keys of the agent, then the usual
            files in ``~/.ssh``.
        host_key: The machine's public host key, ``ssh-ed25519 AAAA…``; any other is refused. Its fingerprint,
            ``SHA256:…``, or nothing until ``host_keys.pin`` has found out the key; nothing but that connects then.
        jump: Machine to go through, which may have one to go through itself.
        passphrase: Opens the private key; empty if it has none, or if the agent holds it.
        become_password: What ``sudo`` asks for over there; empty if it asks for nothing.
    """

    host: str
    port: int
    user: str
    key_file: Path | None
    host_key: str
    jump: SshTarget | None = None
    passphrase: str = field(default="", repr=False)
    become_password: str = field(default="", repr=False)

    @property
    def login(self) -> str:
        """``user@host:port``, for messages."""
        return f"{self.user}@{self.place}"

    @property
    def place(self) -> str:
        """``host:port``, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hops(self) -> tuple[SshTarget, ...]:
        """The machines on the way, in the order in which they are gone through."""
        return () if self.jump is None else (*self.jump.hops, self.jump)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not show, of this machine and those on the way."""
        found = (self.passphrase, self.become_password, *(s for hop in self.hops for s in hop.secrets))
        return tuple(dict.fromkeys(secret for secret in found if secret))


def is_host_key(value: object) -> bool:
    """Whether this is a whole host key, and not only its fingerprint or nothing."""
    return isinstance(value, str) and " " in value


def known_hosts_name(target: SshTarget) -> str:
    """What a machine is called in a known_hosts file; behind two different hosts may be two of the same address."""
    name = target.host if target.port == 22 else f"[{target.host}]:{target.port}"
    return name.lower() if target.jump is None else f"{name}.via.{known_hosts_name(target.jump)}".lower()


def known_hosts_line(target: SshTarget) -> str:
    """The line of a known_hosts file that pins the machine's key, with its newline."""
    return f"{known_hosts_name(target)} {' '.join(target.host_key.split()[:2])}\n"


def known_hosts_lines(target: SshTarget) -> str:
    """The lines that pin the machine's key and those of the machines on the way."""
    return "".join(known_hosts_line(each) for each in (*target.hops, target))


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


def openssh_way(target: SshTarget, known_hosts_file: Path, agent: Path | None = None) -> list[str]:
    """Options for OpenSSH's client that are the machine's own: its key, and the machines on the way.

    Args:
        target: The machine.
        known_hosts_file: What the keys of the machines on the way are checked against.
        agent: Socket of the agent that holds the keys with a passphrase.
    """
    return list(_identity(target, agent)) + list(_proxy(target, known_hosts_file, agent))


def openssh_command(
    target: SshTarget, known_hosts_file: Path, command: Sequence[str] | None = None, agent: Path | None = None
) -> list[str]:
    """Argument list for OpenSSH's client; without ``command`` it opens a shell."""
    # The first value of an option counts.
    arguments = ["ssh", *openssh_way(target, known_hosts_file, agent), *openssh_options(known_hosts_file)]
    arguments += ["-p", str(target.port), f"{target.user}@{target.host}"]
    return [*arguments, "--", *command] if command else arguments


def _identity(target: SshTarget, agent: Path | None) -> Iterator[str]:
    if target.key_file is None:
        # Then it is for the user's own agent and files to say.
        yield from ("-o", "IdentitiesOnly=no")
        return
    if target.passphrase and agent is not None:
        yield from ("-o", f"IdentityAgent={agent}")
    yield from ("-i", str(target.key_file))


def _proxy(target: SshTarget, known_hosts_file: Path, agent: Path | None) -> Iterator[str]:
    if target.jump is None:
        return
    yield from ("-o", f"HostKeyAlias={known_hosts_name(target)}")
    through = openssh_command(target.jump, known_hosts_file, agent=agent)
    destination = through.pop()
    yield from ("-o", "ProxyCommand=" + " ".join(_quote(a) for a in [*through, "-W", "%h:%p", destination]))


def _quote(word: str) -> str:
    # OpenSSH replaces what follows a percent sign before a shell reads the rest; a proxy of the proxy is read twice.
    return word if word == "%h:%p" else shlex.quote(word.replace("%", "%%"))
