"""Servers of nova: how one is asked for, and what is told of it as a machine."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from orchestrator.errors import ProviderError
from orchestrator.providers import ownership
from orchestrator.providers.base import LABELS, PRIVATE_ADDRESS, SECURITY_RULES, Machine, MachineRequest, MachineState
from orchestrator.providers.cloud_init import USER, user_data
from orchestrator.providers.cloud_parts import ADDRESS, HOST_KEY, LINEAGE, TOKEN, ZONE, part_name, setting
from orchestrator.providers.openstack.api import NEUTRON, NOVA, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.flavors import Flavor, disk_of, needs_volume
from orchestrator.providers.openstack.images import ARCHITECTURES, Image
from orchestrator.providers.openstack.marks import Mark, machine_metadata, mark_of, part_tags, set_labels
from orchestrator.providers.openstack.security import rule_texts
from orchestrator.providers.openstack.volumes import empty_volume, volumes_of
from orchestrator.topology.model import Value

SSH_PORT = 22
FLAVOR, NETWORK_NAME, VOLUMES = "flavor", "network", "volumes"
"""Names in a machine's setup, besides the security rules and tags. Of volumes all are told that go with it."""

_LEAST_VOLUME_GB = 10
"""What a volume has at least where neither request nor image says."""

_RUNNING = {"ACTIVE", "BUILD", "REBOOT", "HARD_REBOOT", "PASSWORD", "MIGRATING", "RESIZE", "VERIFY_RESIZE"}
_RUNNING |= {"REVERT_RESIZE"}
_STANDING = {"PAUSED", "SUSPENDED"}
_STOPPED = {"SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "RESCUE"}
_GONE = {"DELETED", "SOFT_DELETED"}
_ENDING = {"deleting", "soft-deleting"}

Owner = tuple[str, str, str]
"""Lineage, address of the node instance, and the name that its machine is given."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Servers that are made for a node instance, and those of nobody that are called as one would be."""

    mine: list[dict[str, Any]] = field(default_factory=list)
    namesakes: list[dict[str, Any]] = field(default_factory=list)


def owner_of(request: MachineRequest) -> Owner:
    """As whose a machine is looked for."""
    return request.deployment.lineage, request.address, part_name(request.deployment, request.hostname)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What neutron has of the machines of a deployment.

    Attributes:
        groups: Our security groups, by identifier.
        ports: Where machines are in their networks, by identifier of the machine.
        floating: Floating addresses that lead to a port, by identifier of the port.
    """

    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ports: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    floating: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def floating_of(self, server_id: str) -> Mapping[str, Any] | None:
        """The address of a machine that is reached from outside; ``None`` if it has none."""
        found = (self.floating.get(str(port["id"])) for port in self.ports.get(server_id, ()))
        return next(filter(None, found), None)


def machine_of(described: Mapping[str, Any], around: Surroundings) -> Machine:
    """A machine from nova's description, and what is around it."""
    told = described.get("metadata") or {}
    server_id = str(described["id"])
    private = _private_address(described, around.ports.get(server_id, ()))
    state, public = _state(described), around.floating_of(server_id)
    return Machine(
        id=server_id,
        address=str(told.get(ADDRESS, "")),
        token=str(told.get(TOKEN, "")),
        state=state,
        host=str(public["floating_ip_address"]) if public else private,
        port=SSH_PORT,
        user=USER,
        host_key=str(told.get(HOST_KEY, "")),
        setup=setup_of(described, around),
        details={PRIVATE_ADDRESS: private},
        reason=trouble_of(described) if state is MachineState.UNREACHABLE else "",
    )


def setup_of(described: Mapping[str, Any], around: Surroundings) -> dict[str, Value]:
    """What is set on a server and a hand can change; arguments as for ``machine_of``."""
    ports = around.ports.get(str(described["id"]), ())
    rules: list[Value] = list(rule_texts(ports, around.groups))
    volumes: list[Value] = list(volumes_of(described))
    return {
        FLAVOR: flavor_of(described),
        SECURITY_RULES: rules,
        LABELS: set_labels(described),
        NETWORK_NAME: ", ".join(sorted({str(port.get("network_id")) for port in ports})),
        VOLUMES: volumes,
    }


def flavor_of(described: Mapping[str, Any]) -> str:
    """Name of a server's size."""
    told = described.get("flavor") or {}
    return str(told.get("original_name") or told.get("id") or "")


def status_of(described: Mapping[str, Any]) -> str:
    """Nova's word for the state of a server."""
    return str(described.get("status", "")).upper()


def task_of(described: Mapping[str, Any]) -> str:
    """What nova is doing with a server; empty for nothing."""
    return str(described.get("OS-EXT-STS:task_state") or "")


def is_gone(described: Mapping[str, Any] | None) -> bool:
    """Whether a server is not there any longer, or soon will not be."""
    return described is None or status_of(described) in _GONE or task_of(described) in _ENDING


def never_ran(described: Mapping[str, Any]) -> bool:
    """Whether nova gave up making a server."""
    return status_of(described) == "ERROR" and not described.get("OS-SRV-USG:launched_at")


def trouble_of(described: Mapping[str, Any]) -> str:
    """Why a server is in no usable state, in a sentence."""
    said = " ".join(str((described.get("fault") or {}).get("message") or "").split()).rstrip(".")
    return f"OpenStack has it in the state {status_of(described)}: {said or 'it gives no reason'}."


def gone(server_id: str) -> ProviderError:
    """A machine is not there any longer."""
    return ownership.gone("OpenStack", "server", server_id)


def unfit(request: MachineRequest, image: Image | None) -> str:
    """Why a server that was made by hand cannot be what is asked for; empty if it can, as far as is known.

    Args:
        request: What it is to become.
        image: What it was made from, if that is known.
    """
    if image and image.architecture and image.architecture not in ARCHITECTURES.get(request.architecture, ()):
        return f"has {image.architecture} processors and not {request.architecture} ones"
    return "runs Windows" if image and image.windows else ""


def _state(described: Mapping[str, Any]) -> MachineState:
    status = status_of(described)
    if status in _RUNNING:
        return MachineState.RUNNING
    if status in _STANDING:
        return MachineState.PAUSED
    return MachineState.STOPPED if status in _STOPPED else MachineState.UNREACHABLE


def _private_address(described: Mapping[str, Any], ports: Sequence[Mapping[str, Any]]) -> str:
    """Where other machines reach it: its address in its network, of version 4 if it has one."""
    found = [str(fixed["ip_address"]) for port in ports for fixed in port.get("fixed_ips") or []]
    if not found:
        told = [entry for network in (described.get("addresses") or {}).values() for entry in network]
        found = [str(e["addr"]) for e in told if e.get("OS-EXT-IPS:type", "fixed") == "fixed"]
    return min(found, key=lambda address: ip_address(address).version, default="")


def launch_body(
    request: MachineRequest, image: Image, flavor: Flavor, network: str, groups: Sequence[str], key_name: str
) -> dict[str, Any]:
    """How nova is asked for a server: with its metadata and tags, in the same call."""
    body: dict[str, Any] = {
        "name": part_name(request.deployment, request.hostname),
        "description": Mark(request.deployment, request.address).text,
        "metadata": machine_metadata(request),
        "tags": part_tags(request, request.address),
        "flavorRef": flavor.id,
        "key_name": key_name,
        "networks": [{"uuid": network}],
        "security_groups": [{"name": group} for group in groups],
        "user_data": base64.b64encode(user_data(request).encode()).decode(),
    }
    if zone := setting(request, ZONE):
        body["availability_zone"] = zone
    first: dict[str, Any] = {"boot_index": 0, "uuid": image.id, "source_type": "image", "delete_on_termination": True}
    if size := root_volume_gb(request, image, flavor):
        first |= {"destination_type": "volume", "volume_size": size}
    else:
        first["destination_type"] = "local"
        body["imageRef"] = image.id
    empty = [empty_volume(size_gb) for size_gb in request.volumes_gb]
    if size or empty:
        body["block_device_mapping_v2"] = [first, *empty]
    return {"server": body}


def root_volume_gb(request: MachineRequest, image: Image | None, flavor: Flavor) -> int:
    """Size of the volume that a machine boots from; 0 if it boots from its size's own disk."""
    return (disk_of(request, image) or _LEAST_VOLUME_GB) if needs_volume(flavor, request, image) else 0


def failed(described: Mapping[str, Any] | None, address: str) -> ApiError:
    """A machine went away, or into error, although it was to run."""
    if described is None or is_gone(described):
        return ApiError(
            "The machine is gone.",
            detail=f"{address} was made, and somebody removed it before it ran.",
            resolution="Apply again: it makes the machine anew.",
        )
    trouble = trouble_of(described)
    detail = f"{address} was asked for and did not come to run. {trouble}"
    if "No valid host" in trouble or "Exceeded maximum number of retries" in trouble:
        return ApiError(
            "OpenStack has no capacity for the machine.",
            detail=detail,
            resolution="Name another flavor or zone (setting `zone`), or try later; then apply again.",
        )
    if "quota" in trouble.lower():
        return ApiError(
            "A quota of the project is exhausted.",
            detail=detail,
            resolution="Have it raised by whoever runs the cloud, or remove what is not needed; then apply again, "
            "which goes on from here.",
        )
    return ApiError(
        "OpenStack could not make the machine.",
        detail=detail,
        resolution="Mend what it names, then apply again, which makes the machine anew.",
    )


class Servers:
    """Looks for servers.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self, doing: str = "looking for machines") -> list[dict[str, Any]]:
        """All of the project that are there; those that are being removed are not."""
        found = self._api.list(NOVA, "/servers/detail", "servers", doing)
        return [server for server in found if not is_gone(server)]

    def claims(self, owners: Sequence[Owner]) -> dict[Owner, Claims]:
        """What is there for these node instances, by one list for all of them."""
        found = {owner: Claims() for owner in owners}
        by_mark = {(lineage, address): claims for (lineage, address, _), claims in found.items()}
        by_name = {name: claims for (_, _, name), claims in found.items()}
        for server in self.all():
            told = server.get("metadata") or {}
            if LINEAGE not in told:
                if claims := by_name.get(str(server.get("name", ""))):
                    claims.namesakes.append(server)
            elif claims := by_mark.get((str(told[LINEAGE]), str(told.get(ADDRESS, "")))):
                claims.mine.append(server)
        return found

    def by_id(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Servers by identifier; what is not there is left out. One list where several are asked for."""
        found: dict[str, dict[str, Any]] = {}
        if len(ids) > 2:
            listed = self._api.list(NOVA, "/servers/detail", "servers", "looking at machines")
            found = {str(server["id"]): server for server in listed if server["id"] in set(ids)}
        for server_id in ids:
            if server_id not in found and (told := self._one(server_id)) is not None:
                found[server_id] = told
        return found

    def _one(self, server_id: str) -> dict[str, Any] | None:
        try:
            told = self._api.get(NOVA, f"/servers/{quote(server_id, safe='')}", f"looking at the machine {server_id}")
        except ApiError as error:
            if error.is_absent or (error.status == 400 and not error.transient):
                return None
            raise
        return dict(told["server"])

    def around(self, lineages: Sequence[str]) -> dict[str, Surroundings]:
        """What neutron has of the machines of these deployments: three lists."""
        project = self._api.project()
        mine = {"project_id": project}
        doing = "looking at the networks of machines"
        ports: dict[str, list[Mapping[str, Any]]] = {}
        for port in self._api.list(NEUTRON, "/ports", "ports", doing, **mine):
            ports.setdefault(str(port.get("device_id")), []).append(port)
        listed = self._api.list(NEUTRON, "/floatingips", "floatingips", doing, **mine)
        floating = {str(one["port_id"]): one for one in listed if one.get("port_id")}
        groups: dict[str, dict[str, Mapping[str, Any]]] = {lineage: {} for lineage in lineages}
        for group in self._api.list(NEUTRON, "/security-groups", "security_groups", doing, **mine):
            mark = mark_of(group)
            if mark and mark.deployment.lineage in groups:
                groups[mark.deployment.lineage][str(group["id"])] = group
        return {lineage: Surroundings(groups[lineage], ports, floating) for lineage in lineages}
