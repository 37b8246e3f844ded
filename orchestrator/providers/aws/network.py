"""What the machines of a deployment share: a network with a way out, one subnet a zone, and the SSH key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.security import name_taken, two_of_them
from orchestrator.providers.aws.tags import LINEAGE, deployment_filter, part_name, part_tags, specifications, tags_of
from orchestrator.providers.base import MachineRequest

RANGE = IPv4Network("10.64.0.0/16")
"""Addresses of a network of ours; K3s has 10.42.0.0/16 and 10.43.0.0/16 for itself."""

_SUBNET_PREFIX = 20
ANYWHERE = "0.0.0.0/0"
SUBNET, NETWORK, KEY_NAME, ZONE = "subnet", "network", "key_name", "zone"
"""Settings: a subnet, network (VPC) and key pair of the user's own, and the zone of a network of ours."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """Where a machine is put."""

    id: str
    network: str
    zone: str
    gives_addresses: bool = False
    """Whether everything in it gets a public address of its own accord."""


def setting(request: MachineRequest, name: str) -> str:
    """A setting as text; empty if it is not set."""
    value = request.settings.get(name)
    return "" if value is None else str(value).strip()


class SharedParts:
    """Finds or makes what machines share. Whoever calls sees to it that nobody else does at the same time.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def given_subnet(self, request: MachineRequest) -> Subnet | None:
        """The user's own subnet, or the first of the user's own network; ``None`` if neither is given."""
        if subnet := setting(request, SUBNET):
            filters, named = [{"Name": "subnet-id", "Values": [subnet]}], f"the subnet {subnet}"
        elif network := setting(request, NETWORK):
            filters, named = [{"Name": "vpc-id", "Values": [network]}], f"a subnet in the network {network}"
        else:
            return None
        found = self._api.list("describe_subnets", "Subnets", f"looking for {named}", Filters=filters)
        wanted_zone = setting(request, ZONE)
        usable = [s for s in found if not wanted_zone or s["AvailabilityZone"] == wanted_zone]
        if not usable:
            raise ProviderError(
                "The subnet that was given is not there.",
                detail=f"{request.address} is to be put into {named}, which {self._api.region} does not have"
                f"{f' in the zone {wanted_zone}' if wanted_zone else ''}.",
                resolution="Correct it, or leave it out to have one made.",
            )
        return _subnet(min(usable, key=lambda s: str(s["SubnetId"])))

    def own_subnet(self, request: MachineRequest, zones: Sequence[str]) -> Subnet:
        """The deployment's own subnet in one of these zones, made with all that belongs to it if it is missing."""
        network = self._network(request)
        present = {s.zone: s for s in self._own_subnets(request, network)}
        self._way_out(request, network)
        known = next((zone for zone in zones if zone in present), None)
        return present[known] if known else self._create_subnet(request, network, zones[0])

    def key_pair(self, request: MachineRequest) -> str:
        """Name of the user's own key pair, or of the deployment's, made if it is missing."""
        if given := setting(request, KEY_NAME):
            return given
        name = part_name(request.deployment, "key")
        filters = [{"Name": "key-name", "Values": [name]}]
        found = self._api.list("describe_key_pairs", "KeyPairs", f"looking for the key {name}", Filters=filters)
        if found:
            if tags_of(found[0]).get(LINEAGE) != request.deployment.lineage:
                raise name_taken("key pair", name)
            return name
        try:
            self._api.call(
                "import_key_pair",
                f"giving it the key {name}",
                KeyName=name,
                PublicKeyMaterial=request.authorized_key.encode(),
                TagSpecifications=specifications(part_tags(request, "key"), "key-pair"),
            )
        except ApiError as error:
            if error.code != "InvalidKeyPair.Duplicate":
                raise
            raise name_taken("key pair", name) from error
        return name

    def _network(self, request: MachineRequest) -> str:
        what = f"the network of {request.deployment.name}"
        found = self._api.list(
            "describe_vpcs", "Vpcs", f"looking for {what}", Filters=deployment_filter(request.deployment)
        )
        if len(found) > 1:
            raise two_of_them(what, str(found[0]["VpcId"]), str(found[1]["VpcId"]))
        if found:
            return str(found[0]["VpcId"])
        made = self._api.call(
            "create_vpc",
            f"making {what}",
            CidrBlock=str(RANGE),
            TagSpecifications=specifications(part_tags(request, "network"), "vpc"),
        )
        return str(made["Vpc"]["VpcId"])

    def _own_subnets(self, request: MachineRequest, network: str) -> list[Subnet]:
        found = self._api.list(
            "describe_subnets",
            "Subnets",
            f"looking for the subnets of {request.deployment.name}",
            Filters=[*deployment_filter(request.deployment), {"Name": "vpc-id", "Values": [network]}],
        )
        return [_subnet(entry) for entry in found]

    def _create_subnet(self, request: MachineRequest, network: str, zone: str) -> Subnet:
        ranges = list(RANGE.subnets(new_prefix=_SUBNET_PREFIX))
        made = self._api.call(
            "create_subnet",
            f"making a subnet in {zone}",
            VpcId=network,
            AvailabilityZone=zone,
            CidrBlock=str(ranges[(ord(zone[-1]) - ord("a")) % len(ranges)]),
            TagSpecifications=specifications(part_tags(request, f"subnet-{zone}"), "subnet"),
        )
        return _subnet(made["Subnet"])

    def _way_out(self, request: MachineRequest, network: str) -> None:
        """An internet gateway, and a route to it in the network's main table."""
        doing = f"making the way out of the network of {request.deployment.name}"
        filters = deployment_filter(request.deployment)
        found = self._api.list("describe_internet_gateways", "InternetGateways", doing, Filters=filters)
        if len(found) > 1:
            ids = [str(gateway["InternetGatewayId"]) for gateway in found]
            raise two_of_them(f"internet gateway of {request.deployment.name}", ids[0], ids[1])
        if found and found[0].get("Attachments") and self._has_route(network, doing):
            return
        gateway: dict[str, Any] = found[0] if found else {}
        if not gateway:
            tags = specifications(part_tags(request, "gateway"), "internet-gateway")
            gateway = self._api.call("create_internet_gateway", doing, TagSpecifications=tags)["InternetGateway"]
        gateway_id = str(gateway["InternetGatewayId"])
        if not gateway.get("Attachments"):
            self._api.call("attach_internet_gateway", doing, InternetGatewayId=gateway_id, VpcId=network)
        table = self._main_table(network, doing)
        self._api.call(
            "create_route",
            doing,
            RouteTableId=table["RouteTableId"],
            DestinationCidrBlock=ANYWHERE,
            GatewayId=gateway_id,
        )

    def _has_route(self, network: str, doing: str) -> bool:
        return any(r.get("DestinationCidrBlock") == ANYWHERE for r in self._main_table(network, doing)["Routes"])

    def _main_table(self, network: str, doing: str) -> dict[str, Any]:
        filters = [{"Name": "vpc-id", "Values": [network]}, {"Name": "association.main", "Values": ["true"]}]
        return self._api.list("describe_route_tables", "RouteTables", doing, Filters=filters)[0]


def _subnet(described: dict[str, Any]) -> Subnet:
    return Subnet(
        str(described["SubnetId"]),
        str(described["VpcId"]),
        str(described["AvailabilityZone"]),
        bool(described.get("MapPublicIpOnLaunch")),
    )
