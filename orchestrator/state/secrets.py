"""Secret values of a deployment; everything else holds only references of the form ``secret:NAME``."""

from __future__ import annotations

from typing import Protocol

PREFIX = "secret:"
"""A property value that begins with this stands for the secret of that name."""


class SecretStore(Protocol):
    """Named secret values. A value is generated once and stays the same until it is removed."""

    def get_or_create(self, name: str) -> str:
        """The value of ``name``; 32 random URL-safe characters are made and stored the first time."""

    def put(self, name: str, value: str) -> None:
        """Store a value made elsewhere, e.g. a private key."""

    def get(self, name: str) -> str | None:
        """The value of ``name``, or ``None``."""

    def values(self) -> tuple[str, ...]:
        """Every value, for masking them in output."""

    def clear(self) -> None:
        """Remove every value, when the deployment is gone."""
