"""Host keys: given beforehand, taken from a file that the user trusts, or pinned at the first contact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import paramiko

from orchestrator.remote.connection import read_host_key
from orchestrator.remote.failures import HostKeyError, UnknownHostKeyError, describe_key
from orchestrator.remote.keys import fingerprint
from orchestrator.remote.target import CONNECT_TIMEOUT, SshTarget, is_host_key, known_hosts_line, known_hosts_name
from orchestrator.state.durable_file import make_folder, read_if_there, replace_file, storage_error

TRUSTED_FILE = "DEPLOY_KNOWN_HOSTS"
"""Names a known_hosts file; machines are then checked against it, and none is trusted at the first contact."""

FILE_NAME = "known_hosts"

_GUARD = Lock()
_CONTACTS: dict[str, Lock] = {}


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The host keys that a deployment knows.

    Attributes:
        file: Where keys are recorded at the first contact.
        trusted: The user's own file that holds every machine; ``None``: a machine is trusted at the first contact.
    """

    file: Path
    trusted: Path | None = None

    @classmethod
    def of(cls, state_folder: Path) -> KnownHosts:
        """Those of the deployment with this state folder, or of the file that the environment names."""
        trusted = os.environ.get(TRUSTED_FILE, "")
        return cls(state_folder / FILE_NAME, Path(trusted).expanduser() if trusted else None)

    def find(self, target: SshTarget) -> tuple[str, ...]:
        """The keys that are recorded for the machine, each ``ssh-ed25519 AAAA…``."""
        return _keys(self.file, target)

    def add(self, target: SshTarget) -> None:
        """Record the machine's key in place of the one that it had.

        Raises:
            StateError: If it cannot be written.
        """
        name = known_hosts_name(target)
        with _GUARD:
            make_folder(self.file.parent.parent)
            make_folder(self.file.parent)
            lines = (read_if_there(self.file) or b"").decode(errors="replace").splitlines()
            kept = "".join(f"{line}\n" for line in lines if line.split(" ")[0] != name)
            replace_file(self.file, (kept + known_hosts_line(target)).encode())


def pin(
    target: SshTarget, known: KnownHosts, tell: Callable[[str], None], timeout: float = CONNECT_TIMEOUT
) -> SshTarget:
    """The machine with its host key, and those of the machines on the way.

    A key that is given counts; then the user's own file, if there is one; then what was recorded; then, and only then,
    what the machine shows now, which is recorded and told.

    Args:
        target: The machine. Its host key may be missing, or be a fingerprint.
        known: What is recorded.
        tell: Called with a line for each key that is taken at the first contact.
        timeout: Seconds for each step of a connection.

    Raises:
        HostKeyError: If a machine shows another key than the fingerprint that is given.
        UnknownHostKeyError: If the user's own file does not have the machine.
        UnreachableError: If a machine has to be asked and does not answer.
    """
    if target.jump is not None:
        target = replace(target, jump=pin(target.jump, known, tell, timeout))
    if is_host_key(target.host_key):
        return target
    if known.trusted is not None:
        return _trusted(target, known.trusted)
    with _contact(target):
        return _recorded(target, known) or _at_first_contact(target, known, tell, timeout)


@contextmanager
def _contact(target: SshTarget) -> Iterator[None]:
    """For the time of the block nobody else here asks the same machine for its key."""
    with _GUARD:
        lock = _CONTACTS.setdefault(known_hosts_name(target), Lock())
    with lock:
        yield


def _recorded(target: SshTarget, known: KnownHosts) -> SshTarget | None:
    for key in known.find(target):
        if target.host_key in {"", fingerprint(key)}:
            return replace(target, host_key=key)
    return None


def _at_first_contact(target: SshTarget, known: KnownHosts, tell: Callable[[str], None], timeout: float) -> SshTarget:
    shown = read_host_key(target, timeout)
    pinned = replace(target, host_key=shown)
    known.add(pinned)
    checked = "as expected" if target.host_key else "trusted at the first contact; compare it with the machine's own"
    tell(f"{target.place} shows the host key {describe_key(shown)}, {checked}. Recorded in {known.file}.")
    return pinned


def _trusted(target: SshTarget, file: Path) -> SshTarget:
    keys = _keys(file, target)
    if not keys:
        raise UnknownHostKeyError(
            target,
            f"{file}, which lists the trusted keys, {'does not have it' if file.is_file() else 'is not there'}",
            "Add the machine's key to that file once it is checked, or leave the file out "
            f"(--known-hosts, {TRUSTED_FILE}) to have the key recorded at the first contact.",
        )
    if target.host_key and target.host_key not in {fingerprint(key) for key in keys}:
        raise HostKeyError(target, keys[0])
    return replace(target, host_key=keys[0])


def _keys(file: Path, target: SshTarget) -> tuple[str, ...]:
    if not file.is_file():
        return ()
    hosts = paramiko.HostKeys()
    try:
        hosts.load(str(file))
    except OSError as cause:
        raise storage_error("read", file, cause) from cause
    # A file of the user's own knows nothing of the way.
    found = hosts.lookup(known_hosts_name(target)) or hosts.lookup(known_hosts_name(replace(target, jump=None)))
    keys = [f"{kind} {key.get_base64()}" for kind, key in found.items()] if found else []
    return tuple(sorted(keys, key=lambda key: not key.startswith("ssh-ed25519")))
