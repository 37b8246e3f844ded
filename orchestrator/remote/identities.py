"""What can be offered to a machine that asks who logs in: a key from a file, or the keys of the user's agent."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from orchestrator.errors import RemoteError
from orchestrator.remote.keys import PassphraseError, fingerprint, load_private, public_of_file
from orchestrator.remote.target import SshTarget

_USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")
_KINDS: dict[str, type[paramiko.PKey]] = {"ssh-ed25519": paramiko.Ed25519Key, "ssh-rsa": paramiko.RSAKey}


@dataclass(frozen=True, slots=True)
class Identity:
    """A key that can be offered, and what it is called in messages."""

    name: str
    key: paramiko.PKey


@contextmanager
def identities(target: SshTarget) -> Iterator[tuple[Identity, ...]]:
    """What the machine is offered, in order; the agent is asked as long as the block lasts.

    Raises:
        PassphraseError: If the machine's key has a passphrase that is not given, and the agent does not hold it.
        RemoteError: If the machine's key cannot be read.
    """
    agent = _open_agent()
    try:
        yield _of_user(agent) if target.key_file is None else (_of_file(target.key_file, target.passphrase, agent),)
    finally:
        if agent is not None:
            agent.close()


def _of_file(path: Path, passphrase: str, agent: paramiko.Agent | None) -> Identity:
    try:
        private, public = load_private(path, passphrase)
    except PassphraseError:
        public = "" if passphrase else public_of_file(path)
        for held in agent.get_keys() if agent is not None and public else ():
            if held.get_base64() == public.split()[1]:
                return Identity(f"the key {path} ({fingerprint(public)}) by way of the agent", held)
        raise
    return Identity(f"the key {path} ({fingerprint(public)})", _parsed(private, public))


def _of_user(agent: paramiko.Agent | None) -> tuple[Identity, ...]:
    held = agent.get_keys() if agent is not None else ()
    found = [Identity(f"{key.comment or 'a key'} of the agent ({key.fingerprint})", key) for key in held]
    for name in _USUAL:
        path = Path("~/.ssh", name).expanduser()
        if not path.is_file():
            continue
        try:
            found.append(_of_file(path, "", None))
        except RemoteError:
            # One with a passphrase is among those of the agent, or it cannot be used.
            continue
    return tuple(found)


def _parsed(private: str, public: str) -> paramiko.PKey:
    kind = _KINDS.get(public.split(maxsplit=1)[0], paramiko.ECDSAKey)
    return kind.from_private_key(io.StringIO(private))


def _open_agent() -> paramiko.Agent | None:
    if not os.environ.get("SSH_AUTH_SOCK"):
        return None
    try:
        return paramiko.Agent()
    except (paramiko.SSHException, OSError, EOFError):
        return None
