"""What the machines of a deployment share: a network with a way out, and the SSH key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import (
    KEY_NAME,
    NETWORK,
    RANGE,
    SUBNET,
    part_name,
    setting,
)
from orchestrator.providers.openstack.api import NEUTRON, NOVA, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.marks import Mark, mark_of_key, part_tags, the_one
from orchestrator.providers.ownership import name_taken

EXTERNAL = "external_network"
"""Setting: the network, by name or identifier, that leads outside, where there are several."""

_SAY_WHICH = (
    "Name the right one in clouds.yaml (`networks: [{name: …, routes_externally: true}]`), or by the setting "
    f"`{EXTERNAL}` of a profile"
)


class SharedParts:
    """Finds or makes what machines share. Whoever calls sees to it that nobody else does at the same time.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def given_network(self, request: MachineRequest) -> str:
        """Identifier of the user's own network, or of the one of the user's own subnet; empty if neither is given."""
        subnet, network = setting(request, SUBNET), setting(request, NETWORK)
        if not (subnet or network):
            return ""
        if subnet:
            network = self._network_of(request, subnet)
        found = self._named("networks", network) or []
        if not found:
            raise self._not_given(request, f"the network {network}")
        if len(found) > 1:
            raise ProviderError(
                "Several networks have the name.",
                detail=f"{request.address} is to be put into {network}: {', '.join(str(n['id']) for n in found)}.",
                resolution="Name one by its identifier (`--network`).",
            )
        return str(found[0]["id"])

    def own_network(self, request: MachineRequest) -> str:
        """The deployment's own network, made with all that belongs to it if it is missing."""
        network = self._part(request, "networks", "network", {})
        cidr = {"network_id": network["id"], "ip_version": 4, "cidr": str(RANGE)}
        subnet = self._part(request, "subnets", "subnet", cidr)
        outside = self.external_network(request)
        way_out = {"external_gateway_info": {"network_id": outside}} if outside else {}
        router = self._part(request, "routers", "router", way_out)
        if outside and not router.get("external_gateway_info"):
            doing = f"setting the way out of the network of {request.deployment.name}"
            self._api.call(NEUTRON, "PUT", f"/routers/{router['id']}", doing, {"router": way_out})
        self._join(request, str(router["id"]), str(subnet["id"]))
        return str(network["id"])

    def external_network(self, request: MachineRequest) -> str:
        """The network that leads outside; empty if there is none and nobody has to be reached from there.

        Raises:
            ProviderError: If it is not clear which one, or the one that was given is not there.
        """
        doing = "looking for the network that leads outside"
        found = self._api.list(NEUTRON, "/networks", "networks", doing, **{"router:external": "true"})
        given = setting(request, EXTERNAL) or ", ".join(sorted(self._api.outer_networks()))
        if given:
            fitting = [n for n in found if {str(n["id"]), str(n.get("name"))} & set(given.split(", "))]
        else:
            fitting = [n for n in found if n.get("is_default")] if len(found) > 1 else found
        if len(fitting) == 1:
            return str(fitting[0]["id"])
        names = ", ".join(sorted(str(n.get("name") or n["id"]) for n in found)) or "none"
        if not found and not given and not request.access.public:
            return ""
        if not found or given:
            raise ProviderError(
                "There is no network that leads outside.",
                detail=f"{request.address} needs one{f', {given}' if given else ''}; {self._api.place} shows to this "
                f"project: {names}.",
                resolution=f"{_SAY_WHICH}, or use `--public-addresses none` and a network of your own.",
            )
        raise ProviderError(
            "Several networks lead outside.",
            detail=f"The network of {request.deployment.name} can be joined to each of these: {names}.",
            resolution=f"{_SAY_WHICH}.",
        )

    def outside_of(self, request: MachineRequest, network: str) -> str:
        """The network that public addresses of machines in a network come from; empty if it leads outside itself."""
        told = self._api.get(NEUTRON, f"/networks/{network}", f"looking at the network of {request.address}")["network"]
        return "" if told.get("router:external") else self.external_network(request)

    def check_key(self, request: MachineRequest) -> None:
        """See that the key pair that the user gave is there.

        Raises:
            ProviderError: If it is not.
        """
        name = setting(request, KEY_NAME)
        if name and self._key(name) is None:
            raise ProviderError(
                "The key pair that was given is not there.",
                detail=f"{request.address} is to be made with the key pair {name}, which this user does not have at "
                f"{self._api.place}.",
                resolution=f"Correct `{KEY_NAME}`, or leave it out to have one made.",
            )

    def key_pair(self, request: MachineRequest) -> str:
        """Name of the user's own key pair, or of the deployment's, made if it is missing."""
        if given := setting(request, KEY_NAME):
            return given
        name = part_name(request.deployment, "key")
        found = self._key(name)
        if found is None:
            key = " ".join([*request.authorized_key.split()[:2], Mark(request.deployment).text])
            asked = {"name": name, "public_key": key, "type": "ssh"}
            try:
                self._api.call(NOVA, "POST", "/os-keypairs", f"giving it the key {name}", {"keypair": asked})
            except ApiError as error:
                if not error.is_conflict:
                    raise
                found = self._key(name)
        mark = mark_of_key(found) if found else Mark(request.deployment)
        if mark is None or not mark.is_of(request.deployment):
            raise name_taken("OpenStack", "key pair", name)
        return name

    def _key(self, name: str) -> Mapping[str, Any] | None:
        try:
            told = self._api.get(NOVA, f"/os-keypairs/{quote(name, safe='')}", f"looking for the key {name}")
        except ApiError as error:
            if error.is_absent:
                return None
            raise
        return dict(told["keypair"])

    def _part(self, request: MachineRequest, kind: str, what: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """The deployment's only network, subnet or router; made and tagged if it is missing."""
        one, project = kind.removesuffix("s"), self._api.project()
        doing = f"looking for the {what} of {request.deployment.name}"
        listed = self._api.list(NEUTRON, f"/{kind}", kind, doing, project_id=project)
        found = the_one(listed, request, what, what)
        if found is None:
            asked = {
                "name": part_name(request.deployment, what),
                "description": Mark(request.deployment).text,
                **wanted,
            }
            doing = f"making the {what} of {request.deployment.name}"
            found = dict(self._api.call(NEUTRON, "POST", f"/{kind}", doing, {one: asked})[one])
        if not found.get("tags"):
            tags = {"tags": part_tags(request)}
            self._api.call(NEUTRON, "PUT", f"/{kind}/{found['id']}/tags", f"tagging the {what}", tags)
        return found

    def _join(self, request: MachineRequest, router: str, subnet: str) -> None:
        """Have the subnet be one of the router's."""
        doing = f"joining the network of {request.deployment.name} to its way out"
        ports = self._api.list(NEUTRON, "/ports", "ports", doing, device_id=router)
        if any(fixed.get("subnet_id") == subnet for port in ports for fixed in port.get("fixed_ips") or []):
            return
        self._api.call(NEUTRON, "PUT", f"/routers/{router}/add_router_interface", doing, {"subnet_id": subnet})

    def _named(self, kind: str, wanted: str) -> list[dict[str, Any]]:
        """What the project sees under an identifier, or else a name."""
        doing = f"looking for {wanted}"
        found = self._api.list(NEUTRON, f"/{kind}", kind, doing, id=wanted)
        return found or self._api.list(NEUTRON, f"/{kind}", kind, doing, name=wanted)

    def _network_of(self, request: MachineRequest, subnet: str) -> str:
        found = self._named("subnets", subnet)
        if len(found) != 1:
            raise self._not_given(request, f"the subnet {subnet}")
        network = str(found[0]["network_id"])
        doing = f"looking at the network of the subnet {subnet}"
        others = self._api.list(NEUTRON, "/subnets", "subnets", doing, network_id=network)
        same = [s for s in others if s.get("ip_version") == found[0].get("ip_version")]
        if len(same) > 1:
            raise ProviderError(
                "The network of the subnet has others.",
                detail=f"{request.address} is to be put into the subnet {subnet}; its network {network} has "
                f"{len(same)} of that kind, and OpenStack picks one of them.",
                resolution="Name a network that has one subnet (`--network`).",
            )
        return network

    def _not_given(self, request: MachineRequest, named: str) -> ProviderError:
        return ProviderError(
            "The network that was given is not there.",
            detail=f"{request.address} is to be put into {named}, which {self._api.place} does not show to this "
            "project.",
            resolution="Correct it, or leave it out to have one made.",
        )
