"""Machines that are there already, as their provider has to know them: where they are, and how to work there."""

from __future__ import annotations

import contextlib
import getpass
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from orchestrator.errors import OperationError, RemoteError
from orchestrator.executors.ssh_key import key_file
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import instance_of_record
from orchestrator.providers.base import MachineProvider, Place, Settled
from orchestrator.providers.registry import is_provider, load_provider
from orchestrator.remote.entry import target_of
from orchestrator.remote.target import SshTarget, is_host_key
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import MissingSecretError, SecretResolver
from orchestrator.state.secrets import SSH_KEY, SecretStore
from orchestrator.topology.model import Value

if TYPE_CHECKING:
    from orchestrator.remote.ssh import Session

_SSH_PORT = 22
_MARK = "\x1e"
_PROGRAM_BEGINS = (
    "import sys; t = sys.stdin.read().partition('\\x1e\\n')[2]; r, _, p = t.partition('\\n'); "
    "exec(compile(p, 'program', 'exec'), {'__name__': '__main__', 'REQUEST': r})"
)


class HostPlace:
    """A machine that an entry of ``hosts`` describes.

    Args:
        address: Node instance that it is for.
        lineage: Of the deployment.
        entry: The entry, as ``remote.entry`` reads it.
        recorded: Attributes of the machine's record, if it has one.
        secrets: What passphrases and passwords are looked up in; has the key of the deployment.
        state_folder: Where host keys are recorded at first contact.
        tell: Called with a line for each of them.
    """

    def __init__(
        self,
        address: str,
        lineage: str,
        entry: Mapping[str, Value],
        recorded: Mapping[str, Value],
        secrets: SecretStore,
        state_folder: Path,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.address = address
        self.lineage = lineage
        self.host = str(entry.get("host") or "")
        port = str(entry.get("port") or "")
        self.port = int(port) if port.isdecimal() else _SSH_PORT  # what is wrong with it is said when it is used
        self.user = str(entry.get("user") or recorded.get("user") or getpass.getuser())
        self.id = _identifier(self.user, self.host, self.port, entry.get("jump"))
        machine_id = str(recorded.get("machine_id") or "")
        self.claimed = machine_id if machine_id.startswith(f"{self.id}#") else ""
        self._entry = _pinned(entry, recorded)
        self._secrets = secrets
        self._state_folder = state_folder
        self._tell = tell
        self._lock = Lock()
        self._target: SshTarget | None = None
        self._missing: dict[str, MissingSecretError] = {}

    @property
    def host_key(self) -> str:
        """See the protocol."""
        return self._target.host_key if self._target is not None else str(self._entry.get("host_key") or "")

    @property
    def details(self) -> Mapping[str, Value]:
        """See the protocol; as ``executors.login`` reads the attributes of a record."""
        found: dict[str, Value] = {}
        if self._entry.get("become_password"):
            found["become_password"] = self._entry["become_password"]
        if self._target is not None and self._target.jump is not None:
            found["jump"] = self._way(self._target.jump)
            found["jump_host_keys"] = [hop.host_key for hop in self._target.hops]
        return found

    def run(self, program: str, request: Mapping[str, Value], timeout: float, *, as_root: bool) -> Mapping[str, Value]:
        """See the protocol.

        Once claimed, the machine knows the key of the deployment; before, only its owner's. Whichever is refused, the
        other one is tried, so that what was cut off half-way can be gone on with. A password or passphrase that is not
        there is told only where it turns out to be needed.
        """
        from orchestrator.remote.failures import HostKeyError, UnknownHostKeyError, UnreachableError  # noqa: PLC0415
        from orchestrator.remote.ssh import open_session  # noqa: PLC0415 - takes long, and not every command needs it

        refused: list[RemoteError | OperationError] = []
        for login in self._logins(timeout):
            try:
                with login as target, open_session(target, timeout) as session:
                    return _run(session, program, request, timeout, as_root=as_root)
            except _RightsError as reason:
                raise self._missing.get("become_password", reason) from reason
            except (UnreachableError, HostKeyError, UnknownHostKeyError):
                raise
            except (RemoteError, OperationError) as reason:
                refused.append(reason)
        raise self._missing.get("key_passphrase", refused[-1] if self.claimed else refused[0])

    def _logins(self, timeout: float) -> Iterator[_Login]:
        own = self._pinned_target(timeout)
        private = self._secrets.get(SSH_KEY)
        ours = _with_key(own, private) if private else None
        order = (ours, nullcontext(own)) if self.claimed else (nullcontext(own), ours)
        yield from (login for login in order if login is not None)

    def _pinned_target(self, timeout: float) -> SshTarget:
        from orchestrator.remote.host_keys import KnownHosts, pin  # noqa: PLC0415 - the same

        with self._lock:
            if self._target is None:
                target = target_of(self._entry, self.address, self._resolve, user=self.user)
                self._target = pin(target, KnownHosts.of(self._state_folder), self._tell, timeout)
            return self._target

    def _resolve(self, reference: str, where: str) -> str:
        try:
            return SecretResolver(self._secrets).resolve(reference, where)
        except MissingSecretError as missing:
            self._missing[where.rpartition(": ")[2]] = missing
            return ""

    def _way(self, hop: SshTarget) -> dict[str, Value]:
        """The machines on the way as a record keeps them; the key of the deployment does not log in to these."""
        found: dict[str, Value] = {"host": hop.host, "port": hop.port, "user": hop.user}
        found["key_file"] = str(hop.key_file or "")
        if hop.passphrase and self._entry.get("key_passphrase"):
            found["key_passphrase"] = self._entry["key_passphrase"]
        return found | ({"jump": self._way(hop.jump)} if hop.jump is not None else {})


_Login = AbstractContextManager[SshTarget]


class _RightsError(RemoteError):
    """The machine lets us in, and does not let us work."""


def introduce(provider: MachineProvider, places: Iterable[Place]) -> MachineProvider:
    """The provider, told where machines are that it does not make."""
    if isinstance(provider, Settled):
        provider.know(places)
    return provider


def provider_with(
    name: str, records: Iterable[InstanceRecord], lineage: str, secrets: SecretStore, deployment_folder: Path
) -> MachineProvider:
    """A provider that knows the machines of a state.

    Args:
        name: The provider.
        records: The records; those of other providers are left alone.
        lineage: Of the deployment.
        secrets: Its secrets.
        deployment_folder: Its folder.
    """
    provider = load_provider(name)
    if not isinstance(provider, Settled):
        return provider
    found: list[Place] = []
    for record in records:
        # A record that is damaged must not keep the others from being removed.
        with contextlib.suppress(ValueError, TypeError, KeyError):
            place = place_of(instance_of_record(record), record, lineage, secrets, deployment_folder)
            found += [place] if place is not None and record.provider == name else []
    return introduce(provider, found)


def missing_place(instance: DesiredInstance) -> str:
    """Why its provider would not find a machine that is there already, as a clause; empty if it would."""
    if not _is_settled(instance) or _entry_of(instance):
        return ""
    hosts = instance.properties.get("hosts")
    number = len(hosts) if isinstance(hosts, list) else 0
    return f"its machine is to be found at its address, and {number} of the addresses of its resource are given"


def unused_hosts(instance: DesiredInstance) -> frozenset[str]:
    """The property that says where machines are, if the instance's provider makes one of its own instead."""
    return frozenset() if _is_settled(instance) else frozenset({"hosts"})


def _is_settled(instance: DesiredInstance) -> bool:
    return is_provider(instance.provider) and isinstance(load_provider(instance.provider), Settled)


def _entry_of(instance: DesiredInstance) -> Mapping[str, Value]:
    """What the input says of the machine; empty if it says nothing."""
    hosts = instance.properties.get("hosts")
    entry = hosts[instance.index] if isinstance(hosts, list) and instance.index < len(hosts) else None
    return entry if isinstance(entry, dict) and entry.get("host") else {}


def place_of(
    instance: DesiredInstance,
    record: InstanceRecord | None,
    lineage: str,
    secrets: SecretStore,
    deployment_folder: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> HostPlace | None:
    """Where the machine of an instance is; ``None`` if nothing says so.

    Args:
        instance: The instance, with its property ``hosts``.
        record: Its record, if there is one.
        lineage: Of the deployment.
        secrets: Its secrets.
        deployment_folder: Its folder.
        tell: Called with a line for each host key that is learned.
    """
    entry = _entry_of(instance)
    if not entry:
        return None
    recorded = record.attributes if record is not None and record.attributes.get("host") == entry["host"] else {}
    return HostPlace(instance.address, lineage, entry, recorded, secrets, deployment_folder / "state", tell)


def _identifier(user: str, host: str, port: int, jump: Value) -> str:
    way = f" by way of {jump if isinstance(jump, str) else json.dumps(jump, sort_keys=True)}" if jump else ""
    return f"{user}@{host}:{port}{way}"


def _pinned(entry: Mapping[str, Value], recorded: Mapping[str, Value]) -> Mapping[str, Value]:
    """The entry with the host keys that are recorded, unless it has some itself."""
    found = {**entry, "key_file": entry.get("key_file") or ""}
    if not is_host_key(entry.get("host_key")) and recorded.get("host_key"):
        found["host_key"] = recorded["host_key"]
    if recorded.get("jump_host_keys") and entry.get("jump"):
        found["jump_host_keys"] = recorded["jump_host_keys"]
    return found


@contextmanager
def _with_key(target: SshTarget, private: str) -> Iterator[SshTarget]:
    with key_file(private) as path:
        yield replace(target, key_file=path, passphrase="")


def _run(
    session: Session, program: str, request: Mapping[str, Value], timeout: float, *, as_root: bool
) -> Mapping[str, Value]:
    target = session.target
    python = f"python3 -c {shlex.quote(_PROGRAM_BEGINS)}"
    if target.user == "root" or not as_root:
        command = python
    else:
        command = f"LC_ALL=C sudo {'-S' if target.become_password else '-n'} -p '' -- {python}"
    # Whether sudo asks for the password or not, the program begins behind the mark.
    lines = [target.become_password, _MARK, json.dumps(request), program]
    done = session.run(command, timeout, "\n".join(lines).encode())
    if done.exit_code:
        raise _no_rights(target, done.stderr.strip())
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise _no_rights(target, f"it answered {done.stdout.strip()[-200:]!r}") from None
    return answer if isinstance(answer, dict) else {}


def _no_rights(target: SshTarget, said: str) -> _RightsError:
    resolution = f"Log in as {target.user} and try `sudo python3 -V`."
    if "password is required" in said or "terminal is required" in said:
        reason = "sudo asks for a password, and none is given"
        resolution = "Give a reference to it as become_password in physical_nodes.yaml or the inventory."
    elif "incorrect password" in said or "try again" in said:
        reason = "sudo does not take the password that become_password refers to"
        resolution = "Correct it: `deploy secrets set NAME`, or the variable or file that is referred to."
    elif "not in the sudoers" in said or "may not run sudo" in said or "not allowed to execute" in said:
        reason = "the user may not use sudo"
        resolution = f"Let {target.user} use sudo there, or log in as another user."
    elif "python3" in said and "not found" in said:
        reason = "there is no python3, which Ansible needs as well"
        resolution = "Install it there, e.g. `apt-get install python3`."
    else:
        reason = f"what was to be done as root failed: {said[-500:] or 'without a word'}"
    return _RightsError(
        "Nothing can be done on a machine.",
        detail=f"{target.login}: {reason}.",
        resolution=resolution,
        doc="docs/machines.md",
    )
