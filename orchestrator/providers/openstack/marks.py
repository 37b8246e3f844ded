"""How everything of a deployment is known again on OpenStack: by its description, its tags, its metadata.

Networks, groups and the like get their tags by a second call, so that their description says the same from the first
moment. Key pairs have neither: what their key is called says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.providers import cloud_parts
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE, label_names, machine_tags, part_name
from orchestrator.providers.ownership import name_taken, the_only
from orchestrator.topology.model import Value

NAME = "continuum:name"
"""What a machine is called; one that somebody made keeps the name that it has."""

_WORD = "continuum-deploy:"
_DESCRIPTION = re.compile(rf"^{_WORD} (?P<name>\S*) (?P<lineage>\S+)(?: (?P<address>.+))?$")
_LONGEST_TAG = 60


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose something is, and which node instance, template or group it is for."""

    deployment: DeploymentTag
    address: str = ""

    @property
    def text(self) -> str:
        """As a description, or as the name of a key."""
        return " ".join(filter(None, (_WORD, self.deployment.name, self.deployment.lineage, self.address)))

    def is_of(self, deployment: DeploymentTag) -> bool:
        """Whether it is a deployment's. The lineage alone decides, where there is one."""
        if not deployment.lineage:
            return self.deployment.name == deployment.name
        return self.deployment.lineage == deployment.lineage


def mark_of(described: Mapping[str, Any]) -> Mark | None:
    """The mark of a part; one that is not in the description any longer is found in the tags. ``None`` for others."""
    found = _DESCRIPTION.match(str(described.get("description") or ""))
    if found:
        return Mark(DeploymentTag(found["name"], found["lineage"]), found["address"] or "")
    told = dict(str(tag).split("=", 1) for tag in described.get("tags") or [] if "=" in str(tag))
    if LINEAGE not in told:
        return None
    return Mark(DeploymentTag(told.get(DEPLOYMENT, ""), told[LINEAGE]), told.get(ADDRESS, ""))


def mark_of_key(described: Mapping[str, Any]) -> Mark | None:
    """The mark of a key pair."""
    comment = " ".join(str(described.get("public_key") or "").split()[2:])
    return mark_of({"description": comment})


def mark_of_server(described: Mapping[str, Any]) -> Mark | None:
    """The mark of a machine or a volume, from its metadata."""
    told = described.get("metadata") or {}
    if LINEAGE not in told:
        return None
    return Mark(DeploymentTag(str(told.get(DEPLOYMENT, "")), str(told[LINEAGE])), str(told.get(ADDRESS, "")))


def part_tags(request: MachineRequest, address: str = "") -> list[str]:
    """Tags of a part; one that older clouds find too long, or of which some are made, is left to the description."""
    tags = [f"{name}={value}" for name, value in sorted(cloud_parts.part_tags(request, address).items())]
    return [tag for tag in tags if len(tag) <= _LONGEST_TAG and not set(tag) & set("/,")]


def machine_metadata(request: MachineRequest, name: str = "") -> dict[str, str]:
    """What a machine carries: whose it is, which request made it, and how to reach it safely.

    Args:
        request: What is asked for.
        name: What a machine is called that somebody else made, whose host key nobody knows; empty for one of ours.
    """
    told = machine_tags(request, with_host_key=not name)
    return {**told, NAME: name or part_name(request.deployment, request.hostname)}


def set_labels(described: Mapping[str, Any]) -> dict[str, Value]:
    """The name of a machine and the user's metadata as they are now; ``None`` for what is not there."""
    told = described.get("metadata") or {}
    return {"name": str(described.get("name", "")), **{name: told.get(name) for name in label_names(told)}}


def the_one(
    found: Iterable[Mapping[str, Any]], request: MachineRequest, kind: str, what: str, address: str = ""
) -> dict[str, Any] | None:
    """The deployment's own of a kind of which it has one, or one for each address; ``None`` if it has none.

    Args:
        found: All of that kind in the project.
        request: A machine of the deployment.
        kind: What it is, in words.
        what: End of the name that it is to have.
        address: What it is for.

    Raises:
        ProviderError: If there are two, or something that is not ours has the name.
    """
    listed = list(found)
    mine = [dict(one) for one in listed if _is_mine(one, request.deployment, address)]
    found_one = the_only(mine, "id", " ".join(filter(None, (kind, address, "of", request.deployment.name))))
    name = part_name(request.deployment, what)
    if found_one is None and any(one.get("name") == name for one in listed):
        raise name_taken("OpenStack", kind, name)
    return found_one


def _is_mine(described: Mapping[str, Any], deployment: DeploymentTag, address: str) -> bool:
    mark = mark_of(described)
    return mark is not None and mark.is_of(deployment) and mark.address == address
