"""What the machines of a deployment share: a network with a way out, one subnet a zone, and the SSH key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.tags import PART, deployment_filter, part_tags, specifications, tags_of
from orchestrator.providers.aws.way_out import INSIDE, WaysOut
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import (
    KEY_NAME,
    LINEAGE,
    NETWORK,
    RANGE,
    SUBNET,
    ZONE,
    part_name,
    setting,
)
from orchestrator.providers.ownership import name_taken, the_only
from orchestrator.providers.waiting import Pause

_SUBNET_PREFIX = 20


@dataclass(frozen=True, slots=True)
class Subnet:
    """Where a machine is put."""

    id: str
    network: str
    zone: str
    gives_addresses: bool = False
    """Whether everything in it gets a public address of its own accord."""

    is_inside: bool = False
    """Whether it is one of ours for machines without a public address."""


class SharedParts:
    """Finds or makes what machines share. Whoever calls sees to it that nobody else does at the same time.

    Args:
        api: Where.
        pause: Waits.
    """

    def __init__(self, api: Api, pause: Pause) -> None:
        self._api = api
        self._ways_out = WaysOut(api, pause)

    def given_subnet(self, request: MachineRequest) -> Subnet | None:
        """The user's own subnet, or the first of the user's own network; ``None`` if neither is given."""
        if subnet := setting(request, SUBNET):
            filters, named = [{"Name": "subnet-id", "Values": [subnet]}], f"the subnet {subnet}"
            if network := setting(request, NETWORK):
                filters.append({"Name": "vpc-id", "Values": [network]})
                named += f" of the network {network}"
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

    def own_subnet(
        self, request: MachineRequest, zones: Sequence[str], progress: Callable[[str], None] = lambda _: None
    ) -> Subnet:
        """The deployment's own subnet in one of these zones, made with all that belongs to it if it is missing.

        Machines without a public address have subnets of their own, since their way out is another one.
        """
        network = self._network(request)
        present = self._own_subnets(request, network)
        self._ways_out.open(request, network)
        outside = {s.zone: s for s in present if not s.is_inside}
        if request.access.public:
            known = next((zone for zone in zones if zone in outside), "")
            return outside[known] if known else self._create_subnet(request, network, zones[0])
        inside = {s.zone: s for s in present if s.is_inside}
        zone = next((zone for zone in zones if zone in inside), "")
        zone = zone or next((zone for zone in zones if zone in outside), zones[0])
        # One gateway serves all zones: an hour of it costs more than what it takes in from the others.
        front = outside[min(outside)] if outside else self._create_subnet(request, network, zone)
        table = self._ways_out.inside(request, network, front.id, progress)
        subnet = inside.get(zone) or self._create_subnet(request, network, zone, is_inside=True)
        self._ways_out.put_inside(subnet.id, table)
        return subnet

    def check_outside(self, request: MachineRequest, subnet: str) -> None:
        """See that a public address would be of use in that subnet: it is none of ours for machines without one."""
        filters = [*deployment_filter(request.deployment), {"Name": "subnet-id", "Values": [subnet]}]
        found = self._api.list("describe_subnets", "Subnets", f"looking at the subnet {subnet}", Filters=filters)
        if any(_subnet(one).is_inside for one in found):
            raise ProviderError(
                "The machine cannot be reached from outside where it is.",
                detail=f"{request.address} is to have a public address and is in {subnet}, whose way out is a NAT "
                "gateway; AWS moves no machine to another subnet.",
                resolution="Make it anew with `--replace`.",
            )

    def key_pair(self, request: MachineRequest) -> str:
        """Name of the user's own key pair, or of the deployment's, made if it is missing."""
        if given := setting(request, KEY_NAME):
            return given
        name = part_name(request.deployment, "key")
        filters = [{"Name": "key-name", "Values": [name]}]
        found = self._api.list("describe_key_pairs", "KeyPairs", f"looking for the key {name}", Filters=filters)
        if found:
            if tags_of(found[0]).get(LINEAGE) != request.deployment.lineage:
                raise name_taken("AWS", "key pair", name)
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
            raise name_taken("AWS", "key pair", name) from error
        return name

    def _network(self, request: MachineRequest) -> str:
        what = f"network of {request.deployment.name}"
        found = self._api.list(
            "describe_vpcs", "Vpcs", f"looking for the {what}", Filters=deployment_filter(request.deployment)
        )
        present = the_only(found, "VpcId", what)
        if present:
            return str(present["VpcId"])
        made = self._api.call(
            "create_vpc",
            f"making the {what}",
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

    def _create_subnet(self, request: MachineRequest, network: str, zone: str, *, is_inside: bool = False) -> Subnet:
        ranges = list(RANGE.subnets(new_prefix=_SUBNET_PREFIX))
        half = len(ranges) // 2
        number = (ord(zone[-1]) - ord("a")) % half + (half if is_inside else 0)
        tags = part_tags(request, f"subnet-{zone}{f'-{INSIDE}' if is_inside else ''}")
        made = self._api.call(
            "create_subnet",
            f"making a subnet in {zone}",
            VpcId=network,
            AvailabilityZone=zone,
            CidrBlock=str(ranges[number]),
            TagSpecifications=specifications(tags | ({PART: INSIDE} if is_inside else {}), "subnet"),
        )
        return _subnet(made["Subnet"])


def _subnet(described: dict[str, Any]) -> Subnet:
    return Subnet(
        str(described["SubnetId"]),
        str(described["VpcId"]),
        str(described["AvailabilityZone"]),
        bool(described.get("MapPublicIpOnLaunch")),
        tags_of(described).get(PART) == INSIDE,
    )
