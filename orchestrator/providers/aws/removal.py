"""What carries our tags: listed kind by kind, and removed in the order in which AWS lets it go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.addresses import release_address
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.instances import GONE, Instances, state_of
from orchestrator.providers.aws.tags import NAME, tags_of
from orchestrator.providers.aws.way_out import nat_gateways
from orchestrator.providers.base import DeploymentTag, Owned, Resource
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE
from orchestrator.providers.removal import (
    MACHINE,
    Remover,
    list_at_once,
    remove_each,
    remove_in_order,
    remove_machines,
)
from orchestrator.providers.waiting import REMOVAL_PAUSES, Pause, wait_for

_HELD = {
    "DependencyViolation",
    "IncorrectState",
    "InvalidGroup.InUse",
    "InvalidIPAddress.InUse",
    "InvalidNetworkInterface.InUse",
    "InvalidParameterValue",
    "ResourceInUse",
    "VolumeInUse",
}
"""What others still hold; they may let it go in a moment."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of thing: how it is listed, and how one is removed."""

    name: str
    lists: str
    key: str
    id: str
    remove: Callable[[Api, str], None]
    ends_slowly: bool = False
    """Whether it holds what comes after it until it has ended, which is waited for."""


def _call(operation: str, argument: str) -> Callable[[Api, str], None]:
    def remove(api: Api, identifier: str) -> None:
        api.call(operation, f"removing {identifier}", **{argument: identifier})

    return remove


def _remove_address(api: Api, identifier: str) -> None:
    filters = [{"Name": "allocation-id", "Values": [identifier]}]
    for found in api.list("describe_addresses", "Addresses", f"looking at {identifier}", Filters=filters):
        release_address(api, identifier, str(found.get("AssociationId") or ""))


def _remove_gateway(api: Api, identifier: str) -> None:
    filters = [{"Name": "internet-gateway-id", "Values": [identifier]}]
    doing = f"removing {identifier}"
    for found in api.list("describe_internet_gateways", "InternetGateways", doing, Filters=filters):
        for attached in found.get("Attachments", []):
            api.call("detach_internet_gateway", doing, InternetGatewayId=identifier, VpcId=attached["VpcId"])
    api.call("delete_internet_gateway", doing, InternetGatewayId=identifier)


def _remove_key(api: Api, identifier: str) -> None:
    filters = [{"Name": "key-pair-id", "Values": [identifier]}]
    doing = f"removing {identifier}"
    for found in api.list("describe_key_pairs", "KeyPairs", doing, Filters=filters):
        api.call("delete_key_pair", doing, KeyName=found["KeyName"])


def _remove_group(api: Api, identifier: str) -> None:
    """Without its rules first: two groups that name each other would hold each other."""
    filters = [{"Name": "group-id", "Values": [identifier]}]
    doing = f"removing {identifier}"
    for found in api.list("describe_security_groups", "SecurityGroups", doing, Filters=filters):
        if not found.get("IpPermissions"):
            continue
        # A group that a rule names may be gone already.
        with gone_is_fine():
            api.call("revoke_security_group_ingress", doing, GroupId=identifier, IpPermissions=found["IpPermissions"])
    api.call("delete_security_group", doing, GroupId=identifier)


def _remove_table(api: Api, identifier: str) -> None:
    filters = [{"Name": "route-table-id", "Values": [identifier]}]
    doing = f"removing {identifier}"
    for found in api.list("describe_route_tables", "RouteTables", doing, Filters=filters):
        for association in found.get("Associations", []):
            name = str(association["RouteTableAssociationId"])
            # The subnet that used it may be gone already, and its association with it.
            with gone_is_fine():
                api.call("disassociate_route_table", doing, AssociationId=name)
    api.call("delete_route_table", doing, RouteTableId=identifier)


_KINDS = (
    _Kind(
        "NAT gateway",
        "describe_nat_gateways",
        "NatGateways",
        "NatGatewayId",
        _call("delete_nat_gateway", "NatGatewayId"),
        ends_slowly=True,
    ),
    _Kind(
        "public address",
        "describe_addresses",
        "Addresses",
        "AllocationId",
        _remove_address,
    ),
    _Kind(
        "network interface",
        "describe_network_interfaces",
        "NetworkInterfaces",
        "NetworkInterfaceId",
        _call("delete_network_interface", "NetworkInterfaceId"),
    ),
    _Kind("volume", "describe_volumes", "Volumes", "VolumeId", _call("delete_volume", "VolumeId")),
    _Kind("security group", "describe_security_groups", "SecurityGroups", "GroupId", _remove_group),
    _Kind("key pair", "describe_key_pairs", "KeyPairs", "KeyPairId", _remove_key),
    _Kind("subnet", "describe_subnets", "Subnets", "SubnetId", _call("delete_subnet", "SubnetId")),
    _Kind("route table", "describe_route_tables", "RouteTables", "RouteTableId", _remove_table),
    _Kind(
        "internet gateway",
        "describe_internet_gateways",
        "InternetGateways",
        "InternetGatewayId",
        _remove_gateway,
    ),
    _Kind("network", "describe_vpcs", "Vpcs", "VpcId", _call("delete_vpc", "VpcId")),
)
"""In the order in which they are removed; machines come first."""


class Inventory:
    """Lists what carries our tags, and removes it.

    Args:
        api: Where.
        instances: The instances there.
        pause: Waits.
    """

    def __init__(self, api: Api, instances: Instances, pause: Pause) -> None:
        self._api = api
        self._instances = instances
        self._pause = pause

    def list(self, filters: list[dict[str, Any]]) -> list[Owned]:
        """Everything that passes the filters, one list call a kind, all at once; machines first."""

        def machines() -> list[Owned]:
            found = self._instances.list("listing machines", filters)
            return [_owned(MACHINE, str(i["InstanceId"]), i) for i in found if state_of(i) not in GONE]

        def others(kind: _Kind) -> list[Owned]:
            doing = f"listing each {kind.name}"
            if kind.ends_slowly:
                found = nat_gateways(self._api, filters, doing)
            else:
                found = self._api.list(kind.lists, kind.key, doing, Filters=filters)
            return [
                _owned(kind.name, str(f[kind.id]), f) for f in found if f.get("State") not in {"deleting", "deleted"}
            ]

        return list_at_once([machines, *(partial(others, kind) for kind in _KINDS)])

    def remove(self, resources: Sequence[Resource]) -> dict[str, str]:
        """Remove these in the right order; why each is left that could not be, by identifier."""
        pauses = iter(REMOVAL_PAUSES)
        removers: dict[str, Remover] = {
            MACHINE: partial(remove_machines, end=self.terminate, wait=self.wait_until_gone),
            **{kind.name: partial(self._remove_all, kind, pauses) for kind in _KINDS},
        }
        return remove_in_order(resources, removers)

    def terminate(self, ids: Sequence[str]) -> dict[str, ProviderError]:
        """Have instances end, in one call if all let themselves; what went wrong, by identifier."""
        try:
            self._api.call("terminate_instances", f"removing {', '.join(ids)}", InstanceIds=list(ids))
        except ApiError as error:
            if len(ids) == 1 or error.transient:
                return {} if error.is_absent else dict.fromkeys(ids, error)
            # One of them may be gone or protected, and then none is ended.
            return {name: problem for one in ids for name, problem in self.terminate([one]).items()}
        return {}

    def wait_until_gone(self, ids: Sequence[str]) -> None:
        """Wait until instances have ended, and with them what they hold."""

        def look() -> bool | None:
            found = self._instances.by_id(ids)
            return None if any(state_of(i) != "terminated" for i in found.values()) else True

        wait_for(look, f"{', '.join(ids)} to end", self._pause)

    def _remove_all(self, kind: _Kind, pauses: Iterator[float], ids: Sequence[str]) -> dict[str, str]:
        reasons = remove_each(ids, partial(kind.remove, self._api), _is_held, self._pause, pauses)
        if kind.ends_slowly:
            reasons |= self._wait_for_ends([one for one in ids if one not in reasons])
        return reasons

    def _wait_for_ends(self, ids: Sequence[str]) -> dict[str, str]:
        """Wait until NAT gateways have ended; why, by identifier, if they have not."""
        doing = f"removing {', '.join(ids)}"

        def look() -> bool | None:
            found = nat_gateways(self._api, [{"Name": "nat-gateway-id", "Values": list(ids)}], doing)
            return None if any(one.get("State") not in {"deleted", "failed"} for one in found) else True

        try:
            if ids:
                wait_for(look, f"{', '.join(ids)} to end", self._pause)
        except ProviderError as error:
            return dict.fromkeys(ids, error.detail)
        return {}


def _is_held(error: ProviderError) -> bool:
    return isinstance(error, ApiError) and error.code in _HELD


def _owned(kind: str, identifier: str, described: Mapping[str, Any]) -> Owned:
    tags = tags_of(described)
    resource = Resource(kind, identifier, tags.get(NAME, ""), tags.get(ADDRESS, ""), _created(described))
    return Owned(DeploymentTag(tags.get(DEPLOYMENT, ""), tags.get(LINEAGE, "")), resource)


def _created(described: Mapping[str, Any]) -> str:
    """When it was made, where AWS tells."""
    told = next((described[name] for name in ("LaunchTime", "CreateTime") if described.get(name)), None)
    return told.isoformat() if isinstance(told, datetime) else ""
