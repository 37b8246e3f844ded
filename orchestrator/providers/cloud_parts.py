"""Names, tags and settings of what is made at any cloud."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network

from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_init import public_host_key

DEPLOYMENT = "continuum:deployment"
LINEAGE = "continuum:lineage"
ADDRESS = "continuum:address"
TOKEN = "continuum:token"  # noqa: S105
HOST_KEY = "continuum:host-key"
"""What everything of ours carries, by name: whose it is, what for, and how a machine is known and met."""

LABEL_NAMES = "continuum:labels"
"""Which of a machine's tags the user asked for, so that those that others add are no drift."""

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


def part_tags(request: MachineRequest, address: str = "") -> dict[str, str]:
    """What a part of a deployment carries, besides its name.

    Args:
        request: A machine of the deployment.
        address: Node instance or template that it is for, if it is not for all of them.
    """
    return {
        **labels_of(request),
        DEPLOYMENT: request.deployment.name,
        LINEAGE: request.deployment.lineage,
        **({ADDRESS: address} if address else {}),
    }


def machine_tags(request: MachineRequest, *, with_host_key: bool = True) -> dict[str, str]:
    """What a machine carries besides its name: whose it is, which request made it, and how to reach it safely."""
    tags = part_tags(request, request.address)
    tags[TOKEN] = request.token
    tags[LABEL_NAMES] = ",".join(sorted(labels_of(request)))
    if request.host_key and with_host_key:
        tags[HOST_KEY] = public_host_key(request)
    return tags


def label_names(tags: Mapping[str, str]) -> list[str]:
    """Which tags of a machine the user asked for when they were set."""
    return [name for name in str(tags.get(LABEL_NAMES, "")).split(",") if name]


def label_changes(
    tags: Mapping[str, str], request: MachineRequest, name: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """What to set, and what to take away, so that a machine has the user's tags that are asked for.

    Args:
        tags: The machine's as they are now.
        request: What is asked for.
        name: The tag that says what it is called, where a tag does.
    """
    labels = labels_of(request)
    wanted = {**labels, **(name or {}), LABEL_NAMES: ",".join(sorted(labels))}
    surplus = [label for label in label_names(tags) if label not in wanted and label in tags]
    return {label: value for label, value in wanted.items() if tags.get(label) != value}, surplus


def request_told_by(tags: Mapping[str, str], group: str) -> MachineRequest:
    """As much of the request that a machine was made with as its tags tell: for whom, and which.

    Args:
        tags: The machine's.
        group: What its main group is for.
    """
    return MachineRequest(
        deployment=DeploymentTag(tags.get(DEPLOYMENT, ""), tags.get(LINEAGE, "")),
        address=tags.get(ADDRESS, group),
        token="",
        hostname="",
        architecture="",
        cpus=0,
        memory_mb=0,
        authorized_key="",
    )
