"""What a person may set for an export, and how secrets come into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

DIALECTS = ("im", "fdl")

TYPES_URL = "https://raw.githubusercontent.com/grycap/tosca/main/custom_types.yaml"
"""The types that the Infrastructure Manager's maintainers keep up."""

DOMAIN = "im.grycap.net"
INFLUX_URL = "https://influx.oncloudandheat.com/"


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Choices for an export.

    Attributes:
        types_url: Where templates import their types from.
        domain: Domain that the names of clusters are made in.
        elastic: Workers that a cluster of virtual machines may grow to; 0 for a fixed number.
        influx_url: InfluxDB that the top layer sends its measurements to.
        influx_token: Whether there is a token for it, so that measurements are sent.
    """

    types_url: str = TYPES_URL
    domain: str = DOMAIN
    elastic: int = 0
    influx_url: str = INFLUX_URL
    influx_token: bool = False


class Secrets(Protocol):
    """Gives what stands in an export for a secret: a reference or the value."""

    def generated(self, name: str) -> str:
        """For a secret that is made by us."""

    def given(self, name: str, source: str) -> str:
        """For a secret that somebody else gave; ``source`` says where it is to be found."""


class SecretReferences:
    """References in place of all secrets."""

    def generated(self, name: str) -> str:
        """``secret:NAME``."""
        return f"secret:{name}"

    def given(self, name: str, source: str) -> str:  # noqa: ARG002 - only needed to find the value
        """``secret:NAME``."""
        return f"secret:{name}"
