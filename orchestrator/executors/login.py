"""How to log in to a machine that is recorded: with the key of the deployment, or in a way of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import RemoteError
from orchestrator.planning.records import FRONT, targets_of
from orchestrator.providers.base import PRIVATE_ADDRESS
from orchestrator.remote.entry import target_of
from orchestrator.remote.target import SshTarget
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secret_references import SecretResolver
from orchestrator.state.secrets import SecretStore
from orchestrator.topology.model import Value

_HOP = ("host", "port", "user", "host_key", "key_file")


def has_own_key(attributes: Mapping[str, Value]) -> bool:
    """Whether a machine is logged in to without the key of the deployment."""
    return "key_file" in attributes


def login_to(
    record: InstanceRecord, secrets: SecretStore, default_key: Path, known: Mapping[str, InstanceRecord]
) -> SshTarget:
    """The machine of a record.

    Args:
        record: The machine's; its attributes are as ``remote.entry`` reads them.
        secrets: What passphrases and passwords are looked up in.
        default_key: The key of the deployment.
        known: Every record of the state by address: what it is reached through may have another address or key by now.

    Raises:
        RemoteError: If the record cannot be understood, or what it is reached through is not there.
        MissingSecretError: If a passphrase or password is not there.
    """
    resolver = SecretResolver(secrets)
    return target_of(way_to(record, known), record.address, resolver.resolve, default_key)


def inside_address(record: InstanceRecord) -> str:
    """By which machines of a cloud reach each other; empty where there is no other address than the one for SSH."""
    return str(record.attributes.get(PRIVATE_ADDRESS) or "")


def is_behind_another(record: InstanceRecord) -> bool:
    """Whether a machine is reached through another one of its deployment."""
    return bool(targets_of(record, FRONT))


def way_to(record: InstanceRecord, known: Mapping[str, InstanceRecord]) -> Mapping[str, Value]:
    """The attributes of a machine with the machine that leads to it as that one is recorded now.

    Raises:
        RemoteError: If that one is not there.
    """
    front = next(iter(targets_of(record, FRONT)), "")
    if not front:
        return record.attributes
    leading = known[front].attributes if front in known else {}
    if not leading.get("host"):
        raise RemoteError(
            "The way to a machine is not there.",
            detail=f"{record.address} has no address of its own outside; it is reached through {front}, which is gone.",
            resolution=f"Apply again, which makes {front} anew.",
        )
    attributes = {name: value for name, value in record.attributes.items() if name != "jump_host_keys"}
    return attributes | {"jump": {name: leading[name] for name in _HOP if name in leading}}


def host_key_attributes(target: SshTarget, *, with_way: bool = True) -> dict[str, Value]:
    """What a record keeps of the host keys that were pinned; of the way only where it is the machine's own."""
    if not with_way:
        return {"host_key": target.host_key}
    hops: list[Value] = [hop.host_key for hop in target.hops]
    return {"host_key": target.host_key, **({"jump_host_keys": hops} if hops else {})}
