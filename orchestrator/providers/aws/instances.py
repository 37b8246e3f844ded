"""Instances of EC2: how one is asked for, and what is told of it as a machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers import ownership
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.flavors import ARCHITECTURES, Flavor
from orchestrator.providers.aws.images import Image
from orchestrator.providers.aws.network import Subnet
from orchestrator.providers.aws.security import rule_texts
from orchestrator.providers.aws.tags import (
    address_filter,
    machine_tags,
    set_labels,
    specifications,
    tag_filter,
    tags_of,
)
from orchestrator.providers.base import LABELS, PRIVATE_ADDRESS, SECURITY_RULES, Machine, MachineRequest, MachineState
from orchestrator.providers.cloud_init import USER, user_data
from orchestrator.providers.cloud_parts import ADDRESS, HOST_KEY, LINEAGE, TOKEN
from orchestrator.providers.waiting import TAG_PAUSES, Pause, wait_for
from orchestrator.topology.model import Value

SSH_PORT = 22
FLAVOR, SUBNET, METADATA, VOLUMES = "flavor", "subnet", "metadata", "data_volumes"
"""Names in a machine's setup, besides the security rules and tags. Of volumes the devices are told that they are at."""

DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
"""Where AWS recommends to attach data volumes."""

SESSIONS_ONLY: dict[str, Any] = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"}
"""Metadata is only told within a session, and not to what is one hop further: a container."""

ALIVE = ("pending", "running", "stopping", "stopped")
GONE = frozenset({"shutting-down", "terminated"})
_STATES = {"pending": MachineState.RUNNING, "running": MachineState.RUNNING}
_LAUNCHES = 5

Owner = tuple[str, str]
"""Lineage, and address of the node instance."""


def machine_of(described: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> Machine:
    """A machine.

    Args:
        described: The instance as EC2 describes it.
        groups: Our security groups as EC2 describes them, by identifier.
    """
    tags = tags_of(described)
    private = str(described.get("PrivateIpAddress") or "")
    public = described.get("PublicIpAddress") or None
    return Machine(
        id=str(described["InstanceId"]),
        address=tags.get(ADDRESS, ""),
        token=tags.get(TOKEN, ""),
        state=_STATES.get(state_of(described), MachineState.STOPPED),
        host=str(public or private),
        port=SSH_PORT,
        user=USER,
        host_key=tags.get(HOST_KEY, ""),
        setup=setup_of(described, groups),
        details={PRIVATE_ADDRESS: private},
    )


def setup_of(described: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """What is set on an instance and a hand can change; arguments as for ``machine_of``."""
    rules: list[Value] = list(rule_texts(described, groups))
    return {
        FLAVOR: str(described.get("InstanceType", "")),
        SECURITY_RULES: rules,
        LABELS: set_labels(tags_of(described)),
        SUBNET: str(described.get("SubnetId", "")),
        VOLUMES: _volumes(described),
        METADATA: _metadata(described.get("MetadataOptions") or {}),
    }


def state_of(described: Mapping[str, Any]) -> str:
    """EC2's word for the state of an instance."""
    return str(described.get("State", {}).get("Name", ""))


def gone(machine_id: str) -> ProviderError:
    """A machine is not there any longer."""
    return ownership.gone("AWS", "instance", machine_id)


def unfit(described: Mapping[str, Any], request: MachineRequest) -> str:
    """Why an instance that was made by hand cannot be what is asked for; empty if it can."""
    if described.get("Architecture") != ARCHITECTURES.get(request.architecture):
        return f"has {described.get('Architecture')} processors and not {request.architecture} ones"
    return "runs Windows" if str(described.get("Platform", "")).lower() == "windows" else ""


def launch_arguments(
    request: MachineRequest, image: Image, flavor: Flavor, subnet: Subnet, groups: Sequence[str], key_name: str
) -> dict[str, Any]:
    """How EC2 is asked for an instance: with its tags, in the same call."""
    arguments: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": flavor.name,
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": key_name,
        "UserData": user_data(request),
        "MetadataOptions": SESSIONS_ONLY,
        "TagSpecifications": specifications(machine_tags(request), "instance", "volume", "network-interface"),
    }
    if subnet.gives_addresses:
        # Nobody asked for that address, and it would be another one after each stop.
        interface = {"DeviceIndex": 0, "SubnetId": subnet.id, "Groups": list(groups), "DeleteOnTermination": True}
        arguments["NetworkInterfaces"] = [{**interface, "AssociatePublicIpAddress": False}]
    else:
        arguments |= {"SubnetId": subnet.id, "SecurityGroupIds": list(groups)}
    disks = {image.root_device: request.disk_gb} if request.disk_gb > image.root_gb else {}
    disks |= dict(zip(free_devices(image), request.volumes_gb, strict=False))
    if disks:
        arguments["BlockDeviceMappings"] = [
            {"DeviceName": name, "Ebs": {"VolumeSize": size, "VolumeType": "gp3", "DeleteOnTermination": True}}
            for name, size in disks.items()
        ]
    if request.spot:
        arguments["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    return arguments


def free_devices(image: Image) -> tuple[str, ...]:
    """Where data volumes can be attached to a machine of an image."""
    return tuple(name for name in DEVICES if name not in image.devices)


def check_devices(image: Image, request: MachineRequest) -> None:
    """See that there is room for all data volumes.

    Raises:
        ProviderError: If there are too many.
    """
    room = len(free_devices(image))
    if len(request.volumes_gb) > room:
        raise ProviderError(
            "A machine cannot have so many volumes.",
            detail=f"{request.address} is to have {len(request.volumes_gb)} data volumes; AWS has names for {room}.",
            resolution="Ask for fewer and larger ones.",
        )


class Instances:
    """Looks for instances and starts them.

    Args:
        api: Where.
        pause: Waits.
    """

    def __init__(self, api: Api, pause: Pause) -> None:
        self._api = api
        self._pause = pause

    def launch(self, request: MachineRequest, arguments: Mapping[str, Any]) -> str:
        """Start an instance, or find the one that the same request has started; its identifier."""
        for attempt in range(_LAUNCHES):
            try:
                answer = self._api.call(
                    "run_instances",
                    f"making the machine {request.address}",
                    ClientToken=client_token(request.token, attempt),
                    **arguments,
                )
            except ApiError as error:
                if error.code == "IdempotentParameterMismatch":
                    return self._launched_before(request, error)
                if error.code == "IdempotentInstanceTerminated":
                    continue
                raise
            made = answer["Instances"][0]
            if state_of(made) not in GONE:
                return str(made["InstanceId"])
        raise ProviderError(
            "AWS gives a machine that is gone.",
            detail=f"{request.address} was asked for {_LAUNCHES} times; each was answered with one that was removed.",
            resolution="Make it anew with `--replace`.",
        )

    def _launched_before(self, request: MachineRequest, error: ApiError) -> str:
        """The same request was carried out although its answer was lost; its tags appear in a moment."""

        def look() -> str | None:
            found = self.of_owners([(request.deployment.lineage, request.address)])
            same = [i for i in found if tags_of(i).get(TOKEN) == request.token]
            return str(same[0]["InstanceId"]) if same else None

        try:
            return wait_for(look, f"the machine {request.address} to be listed", self._pause, TAG_PAUSES)
        except ApiError:
            raise
        except ProviderError:
            raise error.passing() from None

    def of_owners(self, owners: Sequence[Owner]) -> list[dict[str, Any]]:
        """All that are there and made for these node instances."""
        filters = [
            tag_filter(LINEAGE, sorted({lineage for lineage, _ in owners})),
            address_filter(sorted({address for _, address in owners})),
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
        found = self.list("looking for machines", filters)
        wanted = set(owners)
        return [i for i in found if (tags_of(i).get(LINEAGE, ""), tags_of(i).get(ADDRESS, "")) in wanted]

    def by_address(self, lineage: str) -> dict[str, list[dict[str, Any]]]:
        """All of a deployment that are there, by node instance."""
        filters = [tag_filter(LINEAGE, [lineage]), {"Name": "instance-state-name", "Values": list(ALIVE)}]
        found: dict[str, list[dict[str, Any]]] = {}
        for instance in self.list("looking for machines", filters):
            found.setdefault(tags_of(instance).get(ADDRESS, ""), []).append(instance)
        return found

    def by_owner(self, owners: Sequence[Owner]) -> dict[Owner, list[dict[str, Any]]]:
        """The same, by node instance."""
        found: dict[Owner, list[dict[str, Any]]] = {}
        for instance in self.of_owners(owners):
            tags = tags_of(instance)
            found.setdefault((tags[LINEAGE], tags[ADDRESS]), []).append(instance)
        return found

    def by_id(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Instances by identifier, also those that are just gone; what is not there at all is left out."""
        filters = [{"Name": "instance-id", "Values": list(ids)}]
        return {str(i["InstanceId"]): i for i in self.list("looking at machines", filters)}

    def list(self, doing: str, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Instances that pass the filters."""
        found = self._api.list("describe_instances", "Reservations", doing, Filters=filters)
        return [instance for reservation in found for instance in reservation["Instances"]]


def client_token(token: str, attempt: int) -> str:
    """By this AWS knows a request again; one whose machine was removed meanwhile needs another."""
    return hashlib.sha256(f"{token}/{attempt}".encode()).hexdigest()


def ended(described: Mapping[str, Any] | None, address: str) -> ProviderError:
    """A machine went away although it was to run."""
    reason = (described or {}).get("StateReason") or {}
    said = str(reason.get("Message") or (described or {}).get("StateTransitionReason") or "AWS gives no reason")
    code = str(reason.get("Code") or said)
    resolution = "Mend what it names, then apply again, which makes the machine anew."
    if "Capacity" in code or "SpotInstance" in code:
        resolution = "Name another flavor or zone, leave `onSpot` out, or try later; then apply again."
    if "VolumeLimit" in code:
        resolution = "Have the quota of volumes raised (Service Quotas in the AWS console), then apply again."
    return ProviderError(
        "AWS ended the machine.",
        detail=f"{address} was made, and went away before it ran: {said.rstrip('.')}.",
        resolution=resolution,
        doc="docs/clouds.md",
    )


def _volumes(described: Mapping[str, Any]) -> list[Value]:
    """Where the volumes are that go with it, but for the one that it boots from; what others attach does not go."""
    root = described.get("RootDeviceName")
    attached = described.get("BlockDeviceMappings", [])
    going = (d for d in attached if d["DeviceName"] != root and d.get("Ebs", {}).get("DeleteOnTermination"))
    return [str(disk["DeviceName"]) for disk in sorted(going, key=lambda disk: str(disk["DeviceName"]))]


def _metadata(options: Mapping[str, Any]) -> str:
    if options.get("HttpEndpoint") == "disabled":
        return "off"
    needs = "session needed" if options.get("HttpTokens") == "required" else "no session needed"
    return f"{needs}, hop limit {options.get('HttpPutResponseHopLimit', 1)}"
