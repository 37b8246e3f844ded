"""What carries our marks: listed kind by kind, and removed in the order in which OpenStack lets it go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Owned, Resource
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.openstack.api import NEUTRON, NOVA, Api
from orchestrator.providers.openstack.marks import Mark, mark_of, mark_of_key, mark_of_server
from orchestrator.providers.openstack.servers import Servers, is_gone, status_of
from orchestrator.providers.openstack.volumes import VOLUME, Volumes, is_held, remove_volume
from orchestrator.providers.removal import (
    MACHINE,
    Remover,
    list_at_once,
    remove_each,
    remove_in_order,
    remove_machines,
)
from orchestrator.providers.waiting import REMOVAL_PAUSES, Pause, wait_for

Wanted = Callable[[Mark], bool]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of thing that neutron has: how it is listed, and how one is removed."""

    name: str
    path: str
    remove: Callable[[Api, str], None]


def _delete(path: str) -> Callable[[Api, str], None]:
    def remove(api: Api, identifier: str) -> None:
        api.call(NEUTRON, "DELETE", f"/{path}/{identifier}", f"removing {identifier}")

    return remove


def _remove_router(api: Api, identifier: str) -> None:
    """Take it from its subnets first."""
    doing = f"removing {identifier}"
    for port in api.list(NEUTRON, "/ports", "ports", doing, device_id=identifier):
        owner = str(port.get("device_owner", ""))
        if not owner.startswith(("network:router_interface", "network:ha_router_replicated")):
            continue
        path = f"/routers/{identifier}/remove_router_interface"
        with gone_is_fine():
            api.call(NEUTRON, "PUT", path, doing, {"port_id": port["id"]})
    api.call(NEUTRON, "DELETE", f"/routers/{identifier}", doing)


KEY = "key pair"
_KINDS = (
    _Kind("public address", "floatingips", _delete("floatingips")),
    _Kind("security group", "security-groups", _delete("security-groups")),
    _Kind("router", "routers", _remove_router),
    _Kind("subnet", "subnets", _delete("subnets")),
    _Kind("network", "networks", _delete("networks")),
)
"""In the order in which they are removed; machines and volumes come first, key pairs last."""


class Inventory:
    """Lists what carries our marks, and removes it.

    Args:
        api: Where.
        servers: The servers there.
        volumes: The volumes there.
        pause: Waits.
    """

    def __init__(self, api: Api, servers: Servers, volumes: Volumes, pause: Pause) -> None:
        self._api = api
        self._servers = servers
        self._volumes = volumes
        self._pause = pause

    def listed(self, wanted: Wanted) -> list[Owned]:
        """Everything of ours that is wanted, one list call a kind, all at once; machines first."""
        project = self._api.project()

        def machines() -> list[Owned]:
            return _owned(MACHINE, self._servers.all("listing machines"), mark_of_server, wanted, created="created")

        def keys() -> list[Owned]:
            listed = self._api.list(NOVA, "/os-keypairs", "keypairs", "listing keys")
            told = [{"id": one["keypair"]["name"], **one["keypair"]} for one in listed]
            return _owned(KEY, told, mark_of_key, wanted)

        def volumes() -> list[Owned]:
            # Their times are UTC and do not say so.
            told = [{**one, "created_at": f"{one.get('created_at') or ''}Z".lstrip("Z")} for one in self._volumes.all()]
            return _owned(VOLUME, told, mark_of_server, wanted)

        def others(kind: _Kind) -> list[Owned]:
            key = kind.path.replace("-", "_")
            found = self._api.list(NEUTRON, f"/{kind.path}", key, f"listing each {kind.name}", project_id=project)
            return _owned(kind.name, found, mark_of, wanted)

        return list_at_once([machines, volumes, *(partial(others, kind) for kind in _KINDS), keys])

    def remove(self, resources: Sequence[Resource]) -> dict[str, str]:
        """Remove these in the right order; why each is left that could not be, by identifier."""
        pauses = iter(REMOVAL_PAUSES)

        def remover(remove: Callable[[Api, str], None]) -> Remover:
            return lambda ids: remove_each(ids, partial(remove, self._api), is_held, self._pause, pauses)

        removers: dict[str, Remover] = {
            MACHINE: partial(remove_machines, end=self._end_all, wait=self.wait_until_gone, still_there=self._left),
            VOLUME: remover(remove_volume),
            **{kind.name: remover(kind.remove) for kind in _KINDS},
            KEY: remover(_remove_key),
        }
        return remove_in_order(resources, removers)

    def end(self, server_id: str) -> None:
        """Have a server removed; one that is gone is no error."""
        with gone_is_fine():
            self._api.call(NOVA, "DELETE", f"/servers/{quote(server_id, safe='')}", f"removing {server_id}")

    def wait_until_gone(self, ids: Sequence[str]) -> None:
        """Wait until servers are gone, and with them what they hold; those that a cloud keeps for a while go now."""
        forced: set[str] = set()

        def look() -> bool | None:
            found = self._servers.by_id(ids)
            for server_id, server in found.items():
                if status_of(server) == "SOFT_DELETED" and server_id not in forced:
                    forced.add(server_id)
                    self._api.call(
                        NOVA, "POST", f"/servers/{server_id}/action", f"removing {server_id}", {"forceDelete": None}
                    )
            return True if all(status_of(server) == "DELETED" for server in found.values()) else None

        wait_for(look, f"{', '.join(ids)} to be gone", self._pause)

    def _end_all(self, ids: Sequence[str]) -> dict[str, ProviderError]:
        """Have servers removed, several at a time; what went wrong, by identifier."""

        def end(server_id: str) -> ProviderError | None:
            try:
                self.end(server_id)
            except ProviderError as error:
                return error
            return None

        with ThreadPoolExecutor(min(8, len(ids))) as pool:
            return {one: problem for one, problem in zip(ids, pool.map(end, ids), strict=True) if problem}

    def _left(self, ids: Sequence[str]) -> list[str]:
        try:
            return [one for one in ids if not is_gone(self._servers.by_id([one]).get(one))]
        except ProviderError:
            return list(ids)


def _remove_key(api: Api, identifier: str) -> None:
    api.call(NOVA, "DELETE", f"/os-keypairs/{quote(identifier, safe='')}", f"removing {identifier}")


def _owned(
    kind: str,
    described: Sequence[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], Mark | None],
    wanted: Wanted,
    created: str = "created_at",
) -> list[Owned]:
    found: list[Owned] = []
    for one in described:
        mark = read(one)
        if mark is None or not wanted(mark):
            continue
        name = str(one.get("name") or one.get("floating_ip_address") or "")
        resource = Resource(kind, str(one["id"]), name, mark.address, str(one.get(created) or ""))
        found.append(Owned(mark.deployment, resource))
    return found
