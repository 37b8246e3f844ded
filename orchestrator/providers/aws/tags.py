"""Names and tags by which everything of a deployment is known again on AWS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_init import public_host_key
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, HOST_KEY, LINEAGE, TOKEN, labels_of, part_name
from orchestrator.topology.model import Value

LABELS = "continuum:labels"
"""Names of the tags that the user gave, so that those that others add are no drift."""

PART = "continuum:part"
"""What a part is for, where a deployment has several of its kind."""

NAME = "Name"


def part_tags(request: MachineRequest, what: str, address: str = "") -> dict[str, str]:
    """What a part of a deployment carries.

    Args:
        request: A machine of the deployment.
        what: End of its name.
        address: Node instance or template that it is for, if it is not for all of them.
    """
    return {
        **labels_of(request),
        NAME: part_name(request.deployment, what),
        DEPLOYMENT: request.deployment.name,
        LINEAGE: request.deployment.lineage,
        **({ADDRESS: address} if address else {}),
    }


def machine_tags(request: MachineRequest, *, with_host_key: bool = True) -> dict[str, str]:
    """What a machine carries: whose it is, which request made it, and how to reach it safely."""
    tags = part_tags(request, request.hostname, request.address)
    tags[TOKEN] = request.token
    tags[LABELS] = ",".join(sorted(labels_of(request)))
    if request.host_key and with_host_key:
        tags[HOST_KEY] = public_host_key(request)
    return tags


def label_changes(tags: Mapping[str, str], request: MachineRequest) -> tuple[dict[str, str], list[str]]:
    """What to set, and what to take away, so that a machine has the name and the user's tags that are asked for.

    Args:
        tags: The machine's as they are now.
        request: What is asked for.
    """
    wanted = {**labels_of(request), NAME: part_name(request.deployment, request.hostname)}
    wanted[LABELS] = ",".join(sorted(labels_of(request)))
    before = filter(None, tags.get(LABELS, "").split(","))
    surplus = [name for name in before if name not in wanted and name in tags]
    return {name: value for name, value in wanted.items() if tags.get(name) != value}, surplus


def set_labels(tags: Mapping[str, str]) -> dict[str, Value]:
    """The name and the user's tags as they are now, of the tags of a machine; ``None`` for one that is not there."""
    names = [NAME, *filter(None, tags.get(LABELS, "").split(","))]
    return {name: tags.get(name) for name in names}


def tags_of(described: Mapping[str, Any]) -> dict[str, str]:
    """The tags of anything that EC2 describes."""
    listed = described.get("Tags") or described.get("TagSet") or []
    return {str(tag["Key"]): str(tag["Value"]) for tag in listed}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def specifications(tags: Mapping[str, str], *kinds: str) -> list[dict[str, Any]]:
    """Tags as EC2 takes them in the call that makes something of these kinds."""
    return [{"ResourceType": kind, "Tags": tag_list(tags)} for kind in kinds]


def deployment_filter(deployment: DeploymentTag) -> list[dict[str, Any]]:
    """What belongs to a deployment, as a filter of EC2's lists. The lineage alone decides, where there is one."""
    if not deployment.lineage:
        return [tag_filter(DEPLOYMENT, [deployment.name])]
    return [tag_filter(LINEAGE, [deployment.lineage])]


def address_filter(addresses: Iterable[str]) -> dict[str, Any]:
    """What is for these node instances; it may let others through, since brackets are no plain text everywhere."""
    return tag_filter(ADDRESS, [a.replace("[", "?").replace("]", "?") for a in addresses])


def tag_filter(name: str, values: list[str]) -> dict[str, Any]:
    """What carries a tag with one of these values."""
    return {"Name": f"tag:{name}", "Values": values}
