"""Public addresses of machines; each is tagged in the call that takes it, so that none is lost and paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.tags import address_filter, part_tags, specifications, tag_filter, tags_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.cloud_parts import ADDRESS, LINEAGE
from orchestrator.providers.ownership import the_only
from orchestrator.providers.together import Together

Owner = tuple[str, str]
"""Lineage, and address of the node instance."""


class PublicAddresses:
    """Elastic IP addresses, by the machines that they are for.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lists: Together[Owner, list[dict[str, Any]]] = Together(self._list)

    def give(self, request: MachineRequest, machine_id: str) -> None:
        """Let the machine have the address that is kept for it, or a new one."""
        found = self._lists.ask((request.deployment.lineage, request.address)) or []
        kept = the_only(found, "AllocationId", f"public address of {request.address}")
        if kept and kept.get("InstanceId") == machine_id:
            return
        address = kept or self._take(request)
        self._associate(str(address["AllocationId"]), machine_id)

    def release(self, lineage: str, address: str) -> None:
        """Give back what is kept for a node instance."""
        for kept in self._lists.ask((lineage, address)) or []:
            release_address(self._api, str(kept["AllocationId"]), str(kept.get("AssociationId") or ""))

    def _take(self, request: MachineRequest) -> dict[str, Any]:
        tags = part_tags(request, f"{request.hostname}-address", request.address)
        return self._api.call(
            "allocate_address",
            f"taking a public address for {request.address}",
            Domain="vpc",
            TagSpecifications=specifications(tags, "elastic-ip"),
        )

    def _associate(self, allocation: str, machine_id: str) -> None:
        self._api.call(
            "associate_address",
            f"giving the machine {machine_id} its public address",
            AllocationId=allocation,
            InstanceId=machine_id,
            AllowReassociation=True,
        )

    def _list(self, owners: Sequence[Owner]) -> dict[Owner, list[dict[str, Any]]]:
        found = self._api.list(
            "describe_addresses",
            "Addresses",
            "looking for public addresses",
            Filters=[
                tag_filter(LINEAGE, sorted({lineage for lineage, _ in owners})),
                address_filter(sorted({address for _, address in owners})),
            ],
        )
        by_owner: dict[Owner, list[dict[str, Any]]] = {}
        for address in found:
            tags = tags_of(address)
            by_owner.setdefault((tags.get(LINEAGE, ""), tags.get(ADDRESS, "")), []).append(address)
        return by_owner


def release_address(api: Api, allocation: str, association: str) -> None:
    """Take an address from what has it, and give it back; one that is gone is no error."""
    doing = f"giving back the public address {allocation}"
    steps = [("disassociate_address", {"AssociationId": association})] if association else []
    steps.append(("release_address", {"AllocationId": allocation}))
    for operation, arguments in steps:
        with gone_is_fine():
            api.call(operation, doing, **arguments)
