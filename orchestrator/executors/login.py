"""How to log in to a machine that is recorded: with the key of the deployment, or in a way of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.remote.entry import target_of
from orchestrator.remote.target import SshTarget
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secrets import SecretStore
from orchestrator.topology.model import Value


def has_own_key(attributes: Mapping[str, Value]) -> bool:
    """Whether a machine is logged in to without the key of the deployment."""
    return "key_file" in attributes


def login_to(record: InstanceRecord, secrets: SecretStore, default_key: Path) -> SshTarget:
    """The machine of a record.

    Args:
        record: The machine's; its attributes are as ``remote.entry`` reads them.
        secrets: What passphrases and passwords are looked up in.
        default_key: The key of the deployment.

    Raises:
        RemoteError: If the record cannot be understood.
        MissingSecretError: If a passphrase or password is not there.
    """
    resolver = SecretResolver(secrets)
    return target_of(record.attributes, record.address, resolver.resolve, default_key)


def host_key_attributes(target: SshTarget) -> dict[str, Value]:
    """What a record keeps of the host keys that were pinned."""
    hops: list[Value] = [hop.host_key for hop in target.hops]
    return {"host_key": target.host_key, **({"jump_host_keys": hops} if hops else {})}
