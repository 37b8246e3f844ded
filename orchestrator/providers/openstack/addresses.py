"""Floating addresses of machines; each is described in the call that takes it, so that none is lost and paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.openstack.api import NEUTRON, Api
from orchestrator.providers.openstack.marks import Mark, mark_of, part_tags
from orchestrator.providers.ownership import the_only
from orchestrator.providers.together import Together

_MACHINE = "continuum:machine="
"""Beginning of the tag that says which machine has an address, or had it last."""

Owner = tuple[str, str]
"""Lineage, and address of the node instance."""


class FloatingAddresses:
    """Floating addresses, by the machines that they are for.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lists: Together[Owner, list[dict[str, Any]]] = Together(self._list)

    def all(self) -> list[dict[str, Any]]:
        """All of the project."""
        project = self._api.project()
        doing = "looking for floating addresses"
        return self._api.list(NEUTRON, "/floatingips", "floatingips", doing, project_id=project)

    def give(self, request: MachineRequest, machine_id: str, port: str, outside: str) -> None:
        """Let a machine have the address that is kept for it, or a new one.

        Args:
            request: The machine.
            machine_id: Its identifier.
            port: Where it is in its network.
            outside: The network that addresses come from.
        """
        found = self._lists.ask((request.deployment.lineage, request.address)) or []
        taken = the_only(found, "id", f"public address of {request.address}")
        doing = f"giving {request.address} a public address"
        if taken and taken.get("port_id") != port:
            self._api.call(NEUTRON, "PUT", f"/floatingips/{taken['id']}", doing, {"floatingip": {"port_id": port}})
        if taken is None:
            mark = Mark(request.deployment, request.address)
            asked = {"floating_network_id": outside, "port_id": port, "description": mark.text}
            taken = dict(self._api.call(NEUTRON, "POST", "/floatingips", doing, {"floatingip": asked})["floatingip"])
        tags = [*part_tags(request, request.address), f"{_MACHINE}{machine_id}"]
        if set(taken.get("tags") or []) != set(tags):
            doing = f"tagging the address of {request.address}"
            self._api.call(NEUTRON, "PUT", f"/floatingips/{taken['id']}/tags", doing, {"tags": tags})

    def release(self, lineage: str, address: str) -> None:
        """Give back what is kept for a node instance."""
        self._give_back(self._lists.ask((lineage, address)) or [])

    def release_of(self, machine_id: str) -> None:
        """Give back what a machine had that somebody removed."""
        tag = f"{_MACHINE}{machine_id}"
        self._give_back([one for one in self.all() if mark_of(one) and tag in (one.get("tags") or [])])

    def _give_back(self, addresses: Sequence[dict[str, Any]]) -> None:
        for kept in addresses:
            doing = f"giving back the public address {kept.get('floating_ip_address')}"
            with gone_is_fine():
                self._api.call(NEUTRON, "DELETE", f"/floatingips/{kept['id']}", doing)

    def _list(self, owners: Sequence[Owner]) -> dict[Owner, list[dict[str, Any]]]:
        wanted, by_owner = set(owners), dict[Owner, list[dict[str, Any]]]()
        for found in self.all():
            mark = mark_of(found)
            owner = (mark.deployment.lineage, mark.address) if mark else ("", "")
            if owner in wanted:
                by_owner.setdefault(owner, []).append(found)
        return by_owner
