"""The one way from a reference to its value: ``secret:NAME`` in the store, ``env:NAME`` and ``file:PATH`` outside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import OperationError
from orchestrator.state.secrets import FIRST_VERSION, PREFIX, SecretStore, is_outside_reference

_LARGEST = 64 * 1024
"""Bytes of the largest file that a secret is read from."""


class MissingSecretError(OperationError):
    """What a reference stands for is not there.

    Args:
        reference: The reference.
        where: Who has it: node instance and property or input.
        reason: What is wrong, as the end of a sentence.
        resolution: What to do.
    """

    def __init__(self, reference: str, where: str, reason: str, resolution: str) -> None:
        super().__init__(
            "A secret is not there.",
            detail=f"{where} is {reference}: {reason}.",
            resolution=resolution,
            doc="docs/secrets.md",
        )


class SecretResolver:
    """Gives values for references.

    Args:
        secrets: The deployment's secrets.
        versions: Name to version, of secrets that were rotated; others have their first one.
        environment: Instead of the process's own variables.
    """

    def __init__(
        self,
        secrets: SecretStore,
        versions: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._secrets = secrets
        self._versions = versions or {}
        self._environment = os.environ if environment is None else environment

    def resolve(self, reference: str, where: str, *, make: bool = False) -> str:
        """The value that a reference stands for.

        Args:
            reference: ``secret:NAME``, ``env:NAME`` or ``file:PATH``; other text is its own value.
            where: Who has it, for messages, e.g. ``edge-oscar: property 'password'``.
            make: Whether a secret that is not stored yet is generated.

        Raises:
            MissingSecretError: If there is no value.
        """
        if is_outside_reference(reference):
            return self._outside(reference, where)
        if not reference.startswith(PREFIX):
            return reference
        name = reference.removeprefix(PREFIX)
        version = self._versions.get(name, FIRST_VERSION)
        value = self._secrets.get_or_create(name, version) if make else self._secrets.get(name, version)
        if value is None:
            raise MissingSecretError(
                reference,
                where,
                "no such secret is stored",
                "If it is a password of something that is there already, give it with `deploy secrets set`. "
                "Otherwise apply again: it is made when its node is installed.",
            )
        return self._outside(value, f"{where} is {reference}, which") if is_outside_reference(value) else value

    def check(self, reference: str, where: str) -> MissingSecretError | None:
        """What will be missing when the reference is resolved; a secret that is only to be generated is not."""
        name = reference.removeprefix(PREFIX)
        if reference.startswith(PREFIX) and self._secrets.get(name) is None:
            return None
        try:
            self.resolve(reference, where)
        except MissingSecretError as missing:
            return missing
        return None

    def _outside(self, reference: str, where: str) -> str:
        kind, _, place = reference.partition(":")
        value = self._variable(place, reference, where) if kind == "env" else self._file(place, reference, where)
        self._secrets.remember(value)
        return value

    def _variable(self, name: str, reference: str, where: str) -> str:
        value = self._environment.get(name, "")
        if not value:
            reason = f"the environment variable {name} is {'empty' if name in self._environment else 'not set'}"
            raise MissingSecretError(reference, where, reason, f"Set {name}, then run the command again.")
        return value

    @staticmethod
    def _file(place: str, reference: str, where: str) -> str:
        path = Path(place).expanduser()
        resolution = "Put the file there, readable for you, then run the command again."
        if not path.is_absolute():
            raise MissingSecretError(reference, where, "its path is relative", "Give the whole path, or one from ~.")
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as cause:
            reason = f"{path} cannot be read ({os.strerror(cause.errno or 0)})"
            raise MissingSecretError(reference, where, reason, resolution) from None
        if len(content) > _LARGEST:
            raise MissingSecretError(reference, where, f"{path} is larger than {_LARGEST} bytes", resolution)
        return text_of(content, reference, where)


def text_of(content: bytes, reference: str, where: str) -> str:
    """A secret as text; the end of its only line does not belong to it.

    Raises:
        MissingSecretError: If it is empty or no text.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        # The cause is left out: it would hold the content.
        raise MissingSecretError(reference, where, "it is no text in UTF-8", "Give a text.") from None
    lines = text.splitlines()
    value = lines[0] if len(lines) == 1 else text
    if not value.strip():
        raise MissingSecretError(reference, where, "it is empty", "Put the value there.")
    return value
