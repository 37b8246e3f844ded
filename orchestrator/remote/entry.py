"""How to log in to a machine, from the map that a file, a property or a record describes it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import RemoteError
from orchestrator.remote.target import SshTarget
from orchestrator.topology.model import Value

Resolve = Callable[[str, str], str]
"""Gives the value of a secret reference (``secret:``, ``env:``, ``file:``); the second argument says who has it."""

ENTRY_KEYS = (
    "host",
    "port",
    "user",
    "key_file",
    "key_passphrase",
    "become_password",
    "jump",
    "host_key",
    "jump_host_keys",
)
"""Keys of such a map that this module reads; others are left alone."""


def target_of(
    entry: Mapping[str, Value], where: str, resolve: Resolve, default_key: Path | None = None, user: str = "root"
) -> SshTarget:
    """The machine that an entry describes.

    An entry has ``host`` and may have ``port``, ``user``, ``key_file``, ``key_passphrase``, ``become_password``,
    ``host_key`` (the key, or its fingerprint ``SHA256:…``) and ``jump``: a map of the same keys, or text as OpenSSH's
    ProxyJump takes it (``user@host:port,user@host``, the first hop first). A hop without a user or key of its own has
    those of the machine. ``jump_host_keys`` lists the keys of the hops, in the same order, once they are pinned.

    Args:
        entry: The map. Without the key ``key_file`` the machine takes ``default_key``; with an empty one it takes
            what the user logs in with by hand.
        where: Whose it is, for messages, e.g. ``edge-raspi[0]``.
        resolve: Gives the values of passphrases and passwords.
        default_key: The key that the machines of the deployment have.
        user: Who logs in if the entry does not say.

    Raises:
        RemoteError: If something in it cannot be understood.
        MissingSecretError: If a passphrase or password is not there.
    """
    host = _text(entry, "host")
    if not host:
        raise _wrong(where, "it has no address")
    key = (_key_file(entry) if "key_file" in entry else default_key) or None
    login = _text(entry, "user") or user
    passphrase = _secret(entry, "key_passphrase", where, resolve) if "key_file" in entry else ""
    bare = SshTarget(host, _port(entry, where), login, key, _text(entry, "host_key"), None, passphrase)
    keys = entry.get("jump_host_keys")
    jump = _jump(entry.get("jump"), bare, where, resolve, [str(k) for k in keys] if isinstance(keys, list) else [])
    password = _secret(entry, "become_password", where, resolve)
    return SshTarget(host, bare.port, login, key, bare.host_key, jump, passphrase, password)


def _jump(given: Value, machine: SshTarget, where: str, resolve: Resolve, keys: list[str]) -> SshTarget | None:
    if not given:
        return None
    where = f"{where}: jump"
    if isinstance(given, dict):
        inherited = {"key_file": str(machine.key_file or "")} if "key_file" not in given else {}
        found = target_of({**inherited, **given}, where, resolve, user=machine.user)
        same_key = bool(inherited) and not found.passphrase
        found = replace(found, passphrase=machine.passphrase) if same_key else found
        return _with_keys(found, keys)
    if not isinstance(given, str):
        raise _wrong(where, "it is neither text nor a map")
    hop: SshTarget | None = None
    for text in given.split(","):
        user, _, address = text.strip().rpartition("@")
        host, port = _host_and_port(address.removeprefix("ssh://"), where)
        login = user.removeprefix("ssh://") or machine.user
        hop = SshTarget(host, port, login, machine.key_file, "", hop, machine.passphrase)
    return _with_keys(hop, keys) if hop is not None else None


def _with_keys(hop: SshTarget, keys: list[str]) -> SshTarget:
    """The hop with the keys that were pinned, the last of which is its own."""
    if not keys:
        return hop
    jump = _with_keys(hop.jump, keys[:-1]) if hop.jump is not None else None
    return replace(hop, host_key=keys[-1] or hop.host_key, jump=jump)


def _host_and_port(address: str, where: str) -> tuple[str, int]:
    host, port = address, "22"
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":") or "22"
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    if not host:
        raise _wrong(where, "a machine on the way has no address")
    return host, _number(port, where)


def _port(entry: Mapping[str, Value], where: str) -> int:
    return _number(_text(entry, "port") or "22", where)


def _number(text: str, where: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise _wrong(where, f"its port is {text!r}, which is no number from 1 to 65535")
    return int(text)


def _key_file(entry: Mapping[str, Value]) -> Path | None:
    text = _text(entry, "key_file")
    return Path(text).expanduser() if text else None


def _secret(entry: Mapping[str, Value], key: str, where: str, resolve: Resolve) -> str:
    text = _text(entry, key)
    return resolve(text, f"{where}: {key}") if text else ""


def _text(entry: Mapping[str, Value], key: str) -> str:
    value = entry.get(key)
    return "" if value is None else str(value).strip()


def _wrong(where: str, reason: str) -> RemoteError:
    return RemoteError(
        "How to reach a machine cannot be understood.",
        detail=f"{where}: {reason}.",
        resolution="Correct the machine's entry in physical_nodes.yaml or the inventory.",
        doc="docs/machines.md",
    )
