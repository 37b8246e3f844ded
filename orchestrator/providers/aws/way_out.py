"""Ways out of a network of ours: an internet gateway, and a NAT gateway for machines without a public address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.tags import PART, deployment_filter, part_tags, specifications, tag_filter, tags_of
from orchestrator.providers.base import DeploymentTag, MachineRequest
from orchestrator.providers.cloud_parts import LINEAGE
from orchestrator.providers.ownership import the_only
from orchestrator.providers.waiting import Pause, wait_for

ANYWHERE = "0.0.0.0/0"
INSIDE = "inside"
"""What parts are marked with that are for machines without a public address, and for them only."""

_IN_USE = ("pending", "available")
_ENDED = ("deleting", "deleted")


class WaysOut:
    """Finds or makes ways out. Whoever calls sees to it that nobody else does at the same time.

    Args:
        api: Where.
        pause: Waits.
    """

    def __init__(self, api: Api, pause: Pause) -> None:
        self._api = api
        self._pause = pause

    def open(self, request: MachineRequest, network: str) -> None:
        """An internet gateway, and a route to it in the network's main table: the way of all with a public address."""
        doing = f"making the way out of the network of {request.deployment.name}"
        filters = deployment_filter(request.deployment)
        found = self._api.list("describe_internet_gateways", "InternetGateways", doing, Filters=filters)
        gateway = the_only(found, "InternetGatewayId", f"internet gateway of {request.deployment.name}")
        table = self._main_table(network, doing)
        if gateway and gateway.get("Attachments") and _route_in(table) is not None:
            return
        if gateway is None:
            tags = specifications(part_tags(request, "gateway"), "internet-gateway")
            made = self._api.call("create_internet_gateway", doing, TagSpecifications=tags)
            gateway = dict(made["InternetGateway"])
        gateway_id = str(gateway["InternetGatewayId"])
        if not gateway.get("Attachments"):
            self._api.call("attach_internet_gateway", doing, InternetGatewayId=gateway_id, VpcId=network)
        self._lead(table, {"GatewayId": gateway_id}, doing)

    def inside(
        self, request: MachineRequest, network: str, outside: str, progress: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any]:
        """The route table of the subnets without public addresses.

        Args:
            request: A machine of the deployment.
            network: VPC.
            outside: Subnet with a way out of its own, where the NAT gateway is put.
            progress: Told that a new gateway is waited for.
        """
        doing = f"making the way out of machines without a public address of {request.deployment.name}"
        gateway = self._nat_gateway(request, outside, doing, progress)
        table = self._inner_table(request, network, doing)
        self._lead(table, {"NatGatewayId": gateway}, doing)
        return table

    def put_inside(self, subnet: str, table: Mapping[str, Any]) -> None:
        """Have a subnet use that route table."""
        if subnet not in {one.get("SubnetId") for one in table.get("Associations", [])}:
            doing = f"giving the subnet {subnet} its way out"
            self._api.call("associate_route_table", doing, RouteTableId=table["RouteTableId"], SubnetId=subnet)

    def _lead(self, table: Mapping[str, Any], target: Mapping[str, str], doing: str) -> None:
        """Have a table's route to everywhere lead there."""
        route = _route_in(table)
        if route is not None and all(route.get(name) == value for name, value in target.items()):
            return
        operation = "create_route" if route is None else "replace_route"
        self._api.call(
            operation, doing, RouteTableId=table["RouteTableId"], DestinationCidrBlock=ANYWHERE, **dict(target)
        )

    def _nat_gateway(self, request: MachineRequest, subnet: str, doing: str, progress: Callable[[str], None]) -> str:
        present = nat_gateways_of(self._api, request.deployment, doing)
        found = the_only(present, "NatGatewayId", f"NAT gateway of {request.deployment.name}")
        if found is None:
            # The address serves one gateway only: an order that was carried out unseen cannot be carried out again.
            made = self._api.call(
                "create_nat_gateway",
                doing,
                AllocationId=self._address(request, doing),
                SubnetId=subnet,
                TagSpecifications=specifications(part_tags(request, "nat"), "natgateway"),
            )
            found = dict(made["NatGateway"])
        gateway = str(found["NatGatewayId"])
        if found.get("State") != "available":
            progress("waiting for the NAT gateway of machines without a public address")
            self._wait_until_available(gateway, doing)
        return gateway

    def _wait_until_available(self, gateway: str, doing: str) -> None:
        def look() -> bool | None:
            found = nat_gateways(self._api, [{"Name": "nat-gateway-id", "Values": [gateway]}], doing)
            state = str(found[0].get("State", "")) if found else ""
            if state in ("failed", *_ENDED):
                raise ProviderError(
                    "AWS could not make the NAT gateway.",
                    detail=f"{gateway}: {found[0].get('FailureMessage') or f'it is {state}'}.",
                    resolution="Mend what it names, then apply again; or use `--public-addresses all`, or a `--subnet` "
                    "of your own, where none is needed.",
                    doc="docs/clouds.md",
                )
            return True if state == "available" else None

        wait_for(look, f"the NAT gateway {gateway} to be available", self._pause)

    def _address(self, request: MachineRequest, doing: str) -> str:
        """The public address that is kept for the NAT gateway, or a new one."""
        filters = [tag_filter(LINEAGE, [request.deployment.lineage]), tag_filter(PART, [INSIDE])]
        found = self._api.list("describe_addresses", "Addresses", doing, Filters=filters)
        kept = the_only(found, "AllocationId", f"address of the NAT gateway of {request.deployment.name}")
        if kept:
            return str(kept["AllocationId"])
        tags = specifications({**part_tags(request, "nat-address"), PART: INSIDE}, "elastic-ip")
        return str(self._api.call("allocate_address", doing, Domain="vpc", TagSpecifications=tags)["AllocationId"])

    def _inner_table(self, request: MachineRequest, network: str, doing: str) -> dict[str, Any]:
        filters = [*deployment_filter(request.deployment), {"Name": "vpc-id", "Values": [network]}]
        found = self._api.list("describe_route_tables", "RouteTables", doing, Filters=filters)
        present = the_only(found, "RouteTableId", f"route table of {request.deployment.name}")
        if present:
            return present
        tags = specifications({**part_tags(request, "routes"), PART: INSIDE}, "route-table")
        made: dict[str, Any] = self._api.call("create_route_table", doing, VpcId=network, TagSpecifications=tags)
        table: dict[str, Any] = made["RouteTable"]
        return table

    def _main_table(self, network: str, doing: str) -> dict[str, Any]:
        filters = [{"Name": "vpc-id", "Values": [network]}, {"Name": "association.main", "Values": ["true"]}]
        return self._api.list("describe_route_tables", "RouteTables", doing, Filters=filters)[0]


def nat_gateways(api: Api, filters: Sequence[Mapping[str, Any]], doing: str) -> list[dict[str, Any]]:
    """NAT gateways that pass the filters, also those that are just gone.

    The filters by tag are applied to the answer once more, since what is found here is removed.
    """
    found = api.list("describe_nat_gateways", "NatGateways", doing, Filter=list(filters))
    return [gateway for gateway in found if all(_passes(tags_of(gateway), one) for one in filters)]


def nat_gateways_of(api: Api, deployment: DeploymentTag, doing: str) -> list[dict[str, Any]]:
    """Those of a deployment that are there or about to be."""
    found = nat_gateways(api, deployment_filter(deployment), doing)
    return [gateway for gateway in found if gateway.get("State") in _IN_USE]


def _passes(tags: Mapping[str, str], condition: Mapping[str, Any]) -> bool:
    name, values = str(condition["Name"]), condition["Values"]
    if name == "tag-key":
        return any(value in tags for value in values)
    return not name.startswith("tag:") or tags.get(name.removeprefix("tag:")) in values


def _route_in(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((r for r in table.get("Routes", []) if r.get("DestinationCidrBlock") == ANYWHERE), None)
