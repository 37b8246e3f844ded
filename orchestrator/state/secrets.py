"""Secret values of a deployment; all else holds only references: ``secret:NAME``, ``env:NAME``, ``file:PATH``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

PREFIX = "secret:"
"""A property value that begins with this stands for the secret of that name."""

FIRST_VERSION = 1
"""Version of a secret that was never rotated; it is not mentioned anywhere, so that it makes nothing dirty."""

SSH_KEY = "ssh-key"
"""Name of the private key that logs in to the deployment's machines, in OpenSSH's form."""

KUBECONFIG = "kubeconfig-"
"""Begins the names of files by which clusters are reached; the address of the cluster follows."""

_SHORTEST_WORD = 40
"""Characters of the shortest word in a fetched file that may be a key."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OUTSIDE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:(?!//)\S(?:.*\S)?")


class SecretKind(StrEnum):
    """Where a value comes from: made by us, set by a person, looked up when needed, or fetched from what was made."""

    GENERATED = "generated"
    SET = "set"
    REFERENCE = "reference"
    FETCHED = "fetched"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret with the values it had.

    Attributes:
        name: Its name.
        kind: Where its newest value comes from.
        values: Version to value (or reference), the newest last; older ones only as long as something runs with them.
        changed: When the newest value came, UTC in ISO form; empty if that is not known.
    """

    name: str
    kind: SecretKind
    values: Mapping[int, str] = field(repr=False)
    changed: str = ""

    @property
    def version(self) -> int:
        """The newest version; 1 unless it was rotated."""
        return max(self.values)

    @property
    def value(self) -> str:
        """The newest value, or the reference."""
        return self.values[self.version]

    @property
    def parts(self) -> tuple[str, ...]:
        """What must not show: every value it had; of a file that is fetched, the long words, not its ordinary lines."""
        if self.kind is SecretKind.FETCHED:
            words = (word for value in self.values.values() for word in value.split())
            return tuple(dict.fromkeys(word for word in words if len(word) >= _SHORTEST_WORD))
        return tuple(value for value in self.values.values() if not is_outside_reference(value))

    def at(self, version: int) -> str:
        """The value of a version; the newest one if there is no such version any longer, or 0 is asked for."""
        return self.values.get(version, self.value)


class SecretStore(Protocol):
    """Named secret values. A value is generated once and stays the same until it is rotated or removed."""

    def get_or_create(self, name: str, version: int = 0) -> str:
        """The value of ``name``; 32 random URL-safe characters are made and stored the first time."""

    def put(self, name: str, value: str, kind: SecretKind = SecretKind.SET) -> None:
        """Store a value made elsewhere, e.g. a private key; another value gets the next version."""

    def get(self, name: str, version: int = 0) -> str | None:
        """The value of ``name`` (of a version, 0 for the newest), or ``None``."""

    def values(self) -> tuple[str, ...]:
        """Every value that is known, for masking them in output; never raises."""

    def remember(self, value: str) -> None:
        """Mask this value as well: one that a reference stood for."""

    def clear(self) -> None:
        """Remove every value, when the deployment is gone."""


def is_secret_name(text: str) -> bool:
    """Whether a secret may be called so."""
    return _NAME.fullmatch(text) is not None


def is_outside_reference(text: str) -> bool:
    """Whether the text is ``env:NAME`` or ``file:PATH``; a URL such as ``file:///x`` is none."""
    return _OUTSIDE.fullmatch(text) is not None


def referenced_secrets(value: object) -> tuple[str, ...]:
    """Names of the secrets that a value refers to, however deep, each once, in order."""
    return tuple(dict.fromkeys(t.removeprefix(PREFIX) for t in references(value) if t.startswith(PREFIX)))


def references(value: object) -> tuple[str, ...]:
    """Every reference in a value, however deep, in order: ``secret:``, ``env:`` and ``file:``."""
    if isinstance(value, str):
        return (value,) if value.startswith(PREFIX) or is_outside_reference(value) else ()
    if isinstance(value, Mapping):
        return tuple(found for item in value.values() for found in references(item))
    if isinstance(value, list | tuple):
        return tuple(found for item in value for found in references(item))
    return ()
