"""Names, tags and settings of what is made at any cloud, and what to say when somebody else's are in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

from orchestrator.diagnostics import Diagnostic, error
from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, MachineRequest

DEPLOYMENT = "continuum:deployment"
LINEAGE = "continuum:lineage"
ADDRESS = "continuum:address"
TOKEN = "continuum:token"  # noqa: S105
HOST_KEY = "continuum:host-key"
"""What everything of ours carries, by name: whose it is, what for, and how a machine is known and met."""

SUBNET, NETWORK, KEY_NAME, ZONE = "subnet", "network", "key_name", "zone"
"""Settings: a subnet, network and key pair of the user's own, and the zone of a network of ours."""

TAGS_SETTING = "tags"
"""Setting: further tags of everything that is made, by name or as ``NAME=VALUE,NAME=VALUE``."""

RANGE = IPv4Network("10.64.0.0/16")
"""Addresses of a network of ours; K3s has 10.42.0.0/16 and 10.43.0.0/16 for itself."""


def part_name(deployment: DeploymentTag, what: str) -> str:
    """The name of a part of a deployment, the same every time."""
    return f"continuum-{deployment.name}-{deployment.lineage[:8]}-{what}"


def setting(request: MachineRequest, name: str) -> str:
    """A setting as text; empty if it is not set."""
    value = request.settings.get(name)
    return "" if value is None else str(value).strip()


def labels_of(request: MachineRequest) -> dict[str, str]:
    """Tags that the user asks for besides ours."""
    given = request.settings.get(TAGS_SETTING)
    if isinstance(given, str):
        pairs = [entry.partition("=") for entry in given.split(",") if entry.strip()]
        return {name.strip(): value.strip() for name, _, value in pairs}
    return {name: str(value) for name, value in given.items()} if isinstance(given, Mapping) else {}


def name_taken(cloud: str, kind: str, name: str) -> ProviderError:
    """Something has our name and is not ours."""
    return ProviderError(
        "A name of ours is taken.",
        detail=f"{cloud} has a {kind} {name} that does not carry the tags of this deployment; it is left alone.",
        resolution="Remove or rename it if nobody needs it, or rename the deployment.",
    )


def two_of_them(kind: str, first: str, second: str, others: Sequence[str] = ()) -> ProviderError:
    """Two things carry the same tags."""
    named = ", ".join((first, second, *others))
    return ProviderError(
        "Two things claim to be the same.",
        detail=f"Each of these carries the tags of the {kind}: {named}.",
        resolution="Find out which one is right and remove the other, or destroy the deployment.",
    )


def in_the_way(request: MachineRequest, predecessor: str) -> ProviderError:
    """A machine of another generation is there."""
    return ProviderError(
        "An earlier machine is still there.",
        detail=f"{request.address} is to be made anew, but its predecessor {predecessor} exists.",
        resolution="Delete the predecessor first; `apply` does so by itself when it knows of it.",
    )


def finding(problem: ProviderError, address: str) -> Diagnostic:
    """What would stop ``create``, told before it is tried."""
    return error(problem.summary, " ".join(filter(None, (problem.detail, problem.resolution))), address=address)
