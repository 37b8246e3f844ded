"""What can be asked of a deployment's secrets, and how they are given and rotated."""

from __future__ import annotations

import secrets as random_secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.planning.desired import secret_versions_of
from orchestrator.state.model import InstanceRecord, State
from orchestrator.state.secret_envelope import KEY_BYTES, SecretKey
from orchestrator.state.secret_keys import render_key
from orchestrator.state.secret_references import SecretResolver, text_of
from orchestrator.state.secret_store import SealedSecretStore
from orchestrator.state.secrets import (
    FIRST_VERSION,
    KUBECONFIG,
    PREFIX,
    SSH_KEY,
    Secret,
    SecretKind,
    is_outside_reference,
    is_secret_name,
    referenced_secrets,
)
from orchestrator.topology.types import shipped_types

FIXED_SECRETS = "fixed_secrets"
"""Key in the metadata of a node type: properties whose secret cannot be changed in place, and why."""


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret, and who runs with which version of it.

    Attributes:
        secret: The secret.
        used_by: Address to version.
    """

    secret: Secret
    used_by: Mapping[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Addresses that still run with an older value, until the next apply."""
        return tuple(address for address, version in self.used_by.items() if version != self.secret.version)


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation came to: secrets with a new value, and those left alone with the reason."""

    rotated: tuple[SecretUse, ...]
    left: Mapping[str, str] = field(default_factory=dict)


def list_secrets(store: SealedSecretStore, state: State | None) -> tuple[SecretUse, ...]:
    """Every secret by name, with its users."""
    return tuple(_use(secret, state) for secret in store.entries())


def read_secret(store: SealedSecretStore, name: str) -> str:
    """The newest value of a secret; what a reference stands for is looked up.

    Raises:
        UsageError: If there is no such secret.
        MissingSecretError: If the variable or file that it refers to is not there.
    """
    secret = _named(store, name)
    versions = {name: secret.version}
    return SecretResolver(store, versions).resolve(PREFIX + name, f"the secret {name!r}")


def set_secret(store: SealedSecretStore, state: State | None, name: str, source: str, piped: bytes) -> SecretUse:
    """Store a value from standard input, or a reference to a variable or a file, which is looked up at run time.

    Args:
        store: The secrets.
        state: The deployment's state.
        name: The secret.
        source: ``env:NAME``, ``file:PATH``, or ``-`` for standard input.
        piped: What standard input held, if it is the source.

    Raises:
        UsageError: If the name or the source cannot be, or what has the secret cannot take another.
        MissingSecretError: If the variable or file is not there, or the input is empty.
    """
    if not is_secret_name(name):
        raise UsageError(
            "This cannot be a secret's name.",
            detail=f"{name!r} was given. A name has letters, digits, dots, dashes and underscores, and begins with a "
            "letter or digit.",
            resolution="`deploy secrets list` shows the names there are.",
        )
    obstacle = _kept_by_us(name) or (_fixed(name, state) if store.get(name) is not None else "")
    if obstacle:
        raise _refused(name, obstacle)
    return _use(store.assign(name, _given(store, name, source, piped)), state)


def _given(store: SealedSecretStore, name: str, source: str, piped: bytes) -> str:
    """The value, or the reference, which must lead to one now."""
    if source == "-":
        value = text_of(piped, "standard input", f"the secret {name!r}")
        if is_outside_reference(value):
            raise UsageError(
                "A reference came in place of a value.",
                detail="Standard input holds a reference, which would be taken for a value.",
                resolution="Give a reference as `--from`, and a value on standard input.",
            )
        return value
    if is_outside_reference(source):
        reference = _absolute(source)
        SecretResolver(store).resolve(reference, f"the secret {name!r}")
        return reference
    raise UsageError(
        "A secret cannot come from there.",
        detail="--from takes env:NAME, file:PATH, or - for standard input. A value itself does not belong on a "
        "command line, where every user of this machine can read it.",
        resolution=f"Pipe the value in: `… | deploy secrets set {name} --from -`.",
    )


def rotate_secrets(store: SealedSecretStore, state: State | None, name: str | None) -> Rotated:
    """Make new values; who uses them takes them over with the next apply, and runs with the older ones until then.

    Args:
        store: The secrets.
        state: The deployment's state.
        name: The one to rotate; ``None`` for all that can be.

    Raises:
        UsageError: If there is no such secret, or it cannot be rotated.
    """
    if name is not None:
        obstacle = _obstacle(_named(store, name), state)
        if obstacle:
            raise _refused(name, obstacle)
        return Rotated((_use(store.rotate(name), state),))
    left = {secret.name: _obstacle(secret, state) for secret in store.entries()}
    rotated = tuple(_use(store.rotate(n), state) for n, obstacle in left.items() if not obstacle)
    return Rotated(rotated, {n: obstacle for n, obstacle in left.items() if obstacle})


def versions_in_use(state: State) -> dict[str, set[int]]:
    """Name to the versions that something recorded runs with."""
    found: dict[str, set[int]] = {}
    for record in state.instances.values():
        for name, version in _held(record).items():
            found.setdefault(name, set()).add(version)
    return found


def fresh_key() -> str:
    """A new key as text, for DEPLOY_SECRETS_KEY or a key file."""
    return render_key(SecretKey(random_secrets.token_bytes(KEY_BYTES)))


def _held(record: InstanceRecord) -> dict[str, int]:
    """Secrets that a record's inputs refer to or tell of, with their versions."""
    versions = secret_versions_of(record.inputs)
    return {**dict.fromkeys(referenced_secrets(record.inputs), FIRST_VERSION), **versions}


def _use(secret: Secret, state: State | None) -> SecretUse:
    return SecretUse(secret, _users(secret, state) if state else {})


def _users(secret: Secret, state: State) -> dict[str, int]:
    name = secret.name
    if name == SSH_KEY:
        return {a: secret.version for a, r in state.instances.items() if "host_key" in r.attributes}
    if name.startswith(KUBECONFIG):
        return {a: secret.version for a in state.instances if KUBECONFIG + a == name}
    return {a: held[name] for a, r in state.instances.items() if name in (held := _held(r))}


def _named(store: SealedSecretStore, name: str) -> Secret:
    entries = {secret.name: secret for secret in store.entries()}
    if name not in entries:
        raise UsageError(
            "There is no such secret.",
            detail=f"{name!r} is not stored; there is: {', '.join(entries) or 'none'}.",
            resolution="Name one of these, or give it with `deploy secrets set`.",
        )
    return entries[name]


def _obstacle(secret: Secret, state: State | None) -> str:
    """Why a secret cannot be rotated; empty if it can."""
    kept_by_us = _kept_by_us(secret.name)
    if kept_by_us:
        return kept_by_us
    if secret.kind is SecretKind.REFERENCE:
        return "it is kept outside. Change it there, then say so with `deploy secrets set`"
    if secret.kind is SecretKind.SET:
        return "it was given, and only who gave it can say what it is now. Give the new one with `deploy secrets set`"
    return _fixed(secret.name, state)


def _kept_by_us(name: str) -> str:
    """Why nobody but the program itself gives or changes a secret of that name; empty for all others."""
    if name == SSH_KEY:
        return (
            "it logs in to the machines, which know no other key. Machines that are made anew could get another, but "
            "not while the ones that are there need this one"
        )
    if name.startswith(KUBECONFIG):
        return "the cluster gives it out, and every apply that works on the cluster fetches it anew"
    return ""


def _fixed(name: str, state: State | None) -> str:
    """Why what has the secret cannot take another one; by the metadata of its type."""
    catalogue = shipped_types()
    for record in state.instances.values() if state else ():
        fixed = catalogue.metadata(record.type).get(FIXED_SECRETS, "")
        property_name, _, why = fixed.partition(": ")
        if property_name and record.inputs.get(f"properties.{property_name}") == PREFIX + name:
            return f"{record.address} has it as its {property_name}: {why}"
    return ""


def _refused(name: str, obstacle: str) -> UsageError:
    return UsageError(
        "This secret cannot be changed.",
        detail=f"{name}: {obstacle}.",
        resolution="Nothing was changed. `deploy secrets rotate --all` rotates what can be rotated.",
        doc="docs/secrets.md",
    )


def _absolute(reference: str) -> str:
    """A file's path as from anywhere: the next run may be in another folder."""
    kind, _, place = reference.partition(":")
    return f"{kind}:{Path(place).expanduser().absolute()}" if kind == "file" else reference
