"""Names and tags by which everything of a deployment is known again on AWS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers import cloud_parts
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE, label_names, labels_of, part_name
from orchestrator.topology.model import Value

PART = "continuum:part"
"""What a part is for, where a deployment has several of its kind."""

NAME = "Name"

_MOST, _LONGEST_NAME, _LONGEST = 40, 128, 256
"""What AWS takes: fifty tags for anything, with those of ours, and so many characters in a name and a value."""


def part_tags(request: MachineRequest, what: str, address: str = "") -> dict[str, str]:
    """What a part of a deployment carries.

    Args:
        request: A machine of the deployment.
        what: End of its name.
        address: Node instance or template that it is for, if it is not for all of them.
    """
    return {**cloud_parts.part_tags(request, address), NAME: part_name(request.deployment, what)}


def machine_tags(request: MachineRequest, *, with_host_key: bool = True) -> dict[str, str]:
    """What a machine carries: whose it is, which request made it, and how to reach it safely."""
    return {**cloud_parts.machine_tags(request, with_host_key=with_host_key), **name_tag(request)}


def name_tag(request: MachineRequest) -> dict[str, str]:
    """What a machine is called."""
    return {NAME: part_name(request.deployment, request.hostname)}


def check_labels(request: MachineRequest) -> None:
    """See that AWS takes the user's tags.

    Raises:
        ProviderError: If it does not; all of it at once.
    """
    labels = labels_of(request)
    wrong = [f"{name!r} is AWS's own" for name in labels if name.lower().startswith("aws:")]
    wrong += [f"{name!r} is set by this program" for name in labels if name == NAME]
    wrong += [f"the name {name[:40] + '…'!r} is longer than {_LONGEST_NAME}" for name in labels if name[_LONGEST_NAME:]]
    wrong += [f"the value of {name[:40]!r} is longer than {_LONGEST}" for name, v in labels.items() if v[_LONGEST:]]
    if len(labels) > _MOST:
        wrong.append(f"there are {len(labels)} of them, and there is room for {_MOST} beside those of this program")
    elif len(",".join(labels)) > _LONGEST:
        wrong.append(f"all names together, which a tag of ours keeps, are longer than {_LONGEST}")
    if wrong:
        raise ProviderError(
            "AWS does not take the tags.",
            detail=f"{request.address} is to be tagged by --tags: {'; '.join(wrong)}.",
            resolution="Name others, or fewer.",
        )


def set_labels(tags: Mapping[str, str]) -> dict[str, Value]:
    """The name and the user's tags as they are now, of the tags of a machine; ``None`` for one that is not there."""
    return {name: tags.get(name) for name in (NAME, *label_names(tags))}


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
