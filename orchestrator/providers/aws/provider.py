"""Machines on AWS EC2, in one region."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import sleep
from typing import Any

from orchestrator.diagnostics import Diagnostic
from orchestrator.errors import DeployError, ProviderError
from orchestrator.providers.aws.addresses import PublicAddresses
from orchestrator.providers.aws.adjusting import Adjusting
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.flavors import Flavor, Flavors
from orchestrator.providers.aws.images import Images
from orchestrator.providers.aws.instances import (
    GONE,
    Instances,
    Owner,
    check_devices,
    ended,
    gone,
    launch_arguments,
    machine_of,
    state_of,
    unfit,
)
from orchestrator.providers.aws.network import SharedParts, Subnet
from orchestrator.providers.aws.preflight import Preflight, pick_zones
from orchestrator.providers.aws.removal import Inventory
from orchestrator.providers.aws.security import SecurityGroups
from orchestrator.providers.aws.tags import (
    deployment_filter,
    machine_tags,
    name_tag,
    tag_filter,
    tag_list,
    tags_of,
)
from orchestrator.providers.aws.way_out import INSIDE
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest, Owned, Resource
from orchestrator.providers.cloud_parts import (
    ADDRESS,
    HOST_KEY,
    LINEAGE,
    NETWORK,
    SUBNET,
    TOKEN,
    ZONE,
    label_changes,
    setting,
)
from orchestrator.providers.known_parts import KnownDeployments, KnownParts
from orchestrator.providers.ownership import check_adoptable, made_before, not_ours
from orchestrator.providers.remembered import Remembered
from orchestrator.providers.removal import not_all_removed
from orchestrator.providers.together import Together
from orchestrator.providers.waiting import Pause, wait_for
from orchestrator.topology.model import Value

_MISSING_PARTS = ("InvalidSubnet", "InvalidGroup.NotFound", "InvalidKeyPair.NotFound", "InvalidSecurityGroupID")


@dataclass
class _Known(KnownParts[Subnet]):
    """What is known of one deployment.

    Attributes:
        groups_told: Our groups as EC2 describes them, until a rule is set.
        machines: Those that are there, by address, until one is removed.
        asked: Addresses of machines that were asked for: one that is asked for again is looked for by itself.
    """

    groups_told: Remembered[dict[str, dict[str, Any]]] = field(default_factory=Remembered)
    machines: Remembered[dict[str, list[dict[str, Any]]]] = field(default_factory=Remembered)
    asked: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """See there."""
        super().forget()
        self.groups_told.forget()


class AwsProvider:
    """Makes machines as instances of EC2; a machine is known by its tags.

    Args:
        region: Where; empty for the region of AWS's own settings.
        pause: Waits that many seconds.
    """

    max_parallel = 16
    can_start = True
    has_volumes = True

    def __init__(self, region: str = "", pause: Pause = sleep) -> None:
        self._api = Api(region)
        self._pause = pause
        self._images = Images(self._api)
        self._flavors = Flavors(self._api)
        self._parts = SharedParts(self._api, pause)
        self._groups = SecurityGroups(self._api)
        self._addresses = PublicAddresses(self._api)
        self._instances = Instances(self._api, pause)
        self._inventory = Inventory(self._api, self._instances, pause)
        self._known = KnownDeployments(_Known)
        self._lock = Lock()
        self._by_owner: Together[Owner, list[dict[str, Any]]] = Together(self._instances.by_owner)
        self._by_id: Together[str, dict[str, Any]] = Together(self._instances.by_id)
        self._groups_by_lineage: Together[str, dict[str, dict[str, Any]]] = Together(self._groups_of)
        self._terminations: Together[str, None] = Together(self._terminate)

    def open(self) -> None:
        """See the protocol; there is nothing to start."""

    def close(self) -> None:
        """See the protocol; there is nothing to stop."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """See the protocol. One that was asked for and whose answer was lost is found by its tags."""
        existing = self._existing(request)
        if existing is None:
            machine_id = self._launch(request, progress)
            described = self._wait_until_running(machine_id, request.address)
        else:
            machine_id = str(existing["InstanceId"])
            described = existing
            if state_of(existing) == "pending":
                described = self._wait_until_running(machine_id, request.address)
            self._set_groups(request, described)
            self._set_labels(request, described)
        is_public = bool(described.get("PublicIpAddress"))
        if request.access.public and not is_public:
            if existing is not None:
                self._parts.check_outside(request, str(described.get("SubnetId", "")))
            self._addresses.give(request, machine_id)
        elif is_public and not request.access.public:
            self._addresses.release(request.deployment.lineage, request.address)
        elif existing is None:
            return machine_of(described, self._groups_told(request.deployment))
        return self._machine(machine_id)

    def start(self, machine_id: str) -> Machine:
        """See the protocol."""
        return self._adjusting.start(machine_id)

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """See the protocol; for another flavor the machine is stopped and started again."""
        try:
            return self._adjusting.adjust(machine_id, setup)
        finally:
            for known in self._known.all():
                known.groups_told.forget()

    def delete(self, machine_id: str) -> None:
        """See the protocol; its public address is given back."""
        described = self._by_id.ask(machine_id)
        if described is None:
            return
        tags = tags_of(described)
        if LINEAGE not in tags:
            raise not_ours("instance", machine_id)
        if state_of(described) not in GONE:
            self._terminations.ask(machine_id)
            self._known.of(tags[LINEAGE]).machines.forget()
        self._addresses.release(tags[LINEAGE], tags.get(ADDRESS, ""))

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """See the protocol: one list of instances and one of security groups."""
        filters = deployment_filter(deployment)
        found = [i for i in self._instances.list(f"looking for machines of {deployment.name}", filters) if _is_there(i)]
        if not found:
            return []
        groups = {str(group["GroupId"]): group for group in self._list_groups(filters)}
        return sorted((machine_of(i, groups) for i in found), key=lambda m: (m.address, m.id))

    def release(self, deployment: DeploymentTag) -> None:
        """See the protocol: network, groups and key, once no machine is left."""
        filters = deployment_filter(deployment)
        found = self._instances.list(f"looking for machines of {deployment.name}", filters)
        if any(state_of(instance) not in GONE for instance in found):
            return
        ending = [str(instance["InstanceId"]) for instance in found if state_of(instance) != "terminated"]
        if ending:
            self._inventory.wait_until_gone(ending)
        self._known.forget([deployment.lineage])
        reasons = self._inventory.remove([owned.resource for owned in self._inventory.list(filters)])
        if reasons:
            raise not_all_removed("AWS", reasons)

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """See the protocol: machines, volumes, interfaces, addresses, groups, keys and parts of networks."""
        return [owned.resource for owned in self._inventory.list(deployment_filter(deployment))]

    def check(self, requests: Sequence[MachineRequest]) -> Sequence[Diagnostic]:
        """See the protocol."""
        return Preflight(self._api, self._images, self._flavors, self._parts, self._instances).check(requests)

    def adopt(self, machine_id: str, request: MachineRequest) -> Machine:
        """See the protocol. Only the instance is tagged: its volumes and addresses stay the user's."""
        described = self._by_id.ask(machine_id)
        if described is None or state_of(described) in GONE:
            raise gone(machine_id)
        tags = tags_of(described)
        others = self._by_owner.ask((request.deployment.lineage, request.address)) or []
        ids = [str(instance["InstanceId"]) for instance in others]
        check_adoptable(machine_id, tags, request, unfit=unfit(described, request), others=ids)
        # Its host key is nobody's whom we know: it is learned at the first contact.
        self._api.call(
            "create_tags",
            f"tagging the machine {machine_id}",
            Resources=[machine_id],
            Tags=tag_list(machine_tags(request, with_host_key=False)),
        )
        self._known.of(request.deployment.lineage).machines.forget()
        if HOST_KEY in tags and tags.get(TOKEN) != request.token:
            doing = f"tagging the machine {machine_id}"
            self._api.call("delete_tags", doing, Resources=[machine_id], Tags=[{"Key": HOST_KEY}])
        return self._machine(machine_id)

    def owned(self) -> Sequence[Owned]:
        """See the protocol."""
        return self._inventory.list([{"Name": "tag-key", "Values": [LINEAGE]}])

    def remove(self, owned: Sequence[Owned]) -> Mapping[str, str]:
        """See the protocol."""
        self._known.forget({one.deployment.lineage for one in owned})
        return self._inventory.remove([one.resource for one in owned])

    def _existing(self, request: MachineRequest) -> dict[str, Any] | None:
        """The instance with the request's token; one of another generation stands in the way."""
        found = {str(instance["InstanceId"]): instance for instance in self._made_for(request)}
        tokens = {machine_id: tags_of(instance).get(TOKEN, "") for machine_id, instance in found.items()}
        return found.get(made_before(tokens, request))

    def _made_for(self, request: MachineRequest) -> list[dict[str, Any]]:
        """What is there for the machine's address: one list for all that are asked for the first time."""
        known, lineage = self._known.of(request.deployment.lineage), request.deployment.lineage
        with self._lock:
            is_first = request.address not in known.asked
            known.asked.add(request.address)
        if not is_first:
            return self._by_owner.ask((lineage, request.address)) or []
        return known.machines.get(lambda: self._instances.by_address(lineage)).get(request.address, [])

    def _launch(self, request: MachineRequest, progress: Callable[[str], None]) -> str:
        """Start an instance with all that it shares; that is looked for anew if it was removed behind our back."""
        image, flavor = self._images.of(request), self._flavors.choose(request)
        check_devices(image, request)

        def start(parts: tuple[Subnet, tuple[str, ...], str]) -> str:
            subnet, groups, key_name = parts
            progress(f"asking AWS for a {flavor.name} in {subnet.zone}")
            arguments = launch_arguments(request, image, flavor, subnet, groups, key_name)
            return self._instances.launch(request, arguments)

        known = self._known.of(request.deployment.lineage)
        return known.use(lambda: self._shared(request, flavor, progress), start, _is_part_missing)

    def _shared(
        self, request: MachineRequest, flavor: Flavor, progress: Callable[[str], None]
    ) -> tuple[Subnet, tuple[str, ...], str]:
        """Subnet, security groups and key of a machine: found or made by the first who needs them, for all."""
        known = self._known.of(request.deployment.lineage)

        def find() -> Subnet:
            given = self._parts.given_subnet(request)
            zones = pick_zones(self._flavors.zones(flavor.name), request, flavor, given)
            return given or self._parts.own_subnet(request, zones, progress)

        with known.lock:
            inside = "" if request.access.public else INSIDE
            where = (*(setting(request, name) for name in (SUBNET, NETWORK, ZONE)), flavor.name, inside)
            subnet = known.network_for(where, find)
            key_name = known.key_for(request, lambda: self._parts.key_pair(request))
            return subnet, self._groups_for(request, subnet.network, known), key_name

    def _groups_for(self, request: MachineRequest, network: str, known: _Known) -> tuple[str, ...]:
        """Its security groups, with the rules that it asks for."""

        def ensure() -> tuple[str, ...]:
            groups = self._groups.ensure(request, network)
            known.groups_told.forget()
            return groups

        return known.groups_for(request, ensure, network)

    def _groups_told(self, deployment: DeploymentTag) -> dict[str, dict[str, Any]]:
        known = self._known.of(deployment.lineage)
        return known.groups_told.get(lambda: self._groups_by_lineage.ask(deployment.lineage) or {})

    def _set_groups(self, request: MachineRequest, described: Mapping[str, Any]) -> None:
        """Let a machine that is there have exactly the groups, and they the rules, that are asked for now."""
        known = self._known.of(request.deployment.lineage)
        with known.lock:
            wanted = self._groups_for(request, str(described["VpcId"]), known)
        if {str(group["GroupId"]) for group in described.get("SecurityGroups", [])} != set(wanted):
            doing = f"setting who reaches {request.address}"
            machine_id = str(described["InstanceId"])
            self._api.call("modify_instance_attribute", doing, InstanceId=machine_id, Groups=list(wanted))

    def _set_labels(self, request: MachineRequest, described: Mapping[str, Any]) -> None:
        """Let it have the tags that are asked for now; what is in order costs no call."""
        wanted, surplus = label_changes(tags_of(described), request, name_tag(request))
        resources, doing = [str(described["InstanceId"])], f"setting the tags of {request.address}"
        if wanted:
            self._api.call("create_tags", doing, Resources=resources, Tags=tag_list(wanted))
        if surplus:
            self._api.call("delete_tags", doing, Resources=resources, Tags=[{"Key": name} for name in surplus])

    def _wait_until_running(self, machine_id: str, address: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            described = self._by_id.ask(machine_id)
            # Not listed yet is no sign of anything: lists lag behind.
            if described is not None and state_of(described) in (*GONE, "stopping", "stopped"):
                raise ended(described, address)
            return described if described is not None and state_of(described) == "running" else None

        return wait_for(look, f"the machine {address} ({machine_id}) to run", self._pause)

    def _machine(self, machine_id: str) -> Machine:
        """The machine as it is now."""
        described = self._by_id.ask(machine_id)
        if described is None or state_of(described) in GONE:
            raise gone(machine_id)
        lineage = tags_of(described).get(LINEAGE, "")
        return machine_of(described, self._groups_by_lineage.ask(lineage) or {})

    def _list_groups(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self._api.list("describe_security_groups", "SecurityGroups", "listing groups", Filters=filters)

    def _groups_of(self, lineages: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
        """Our security groups by identifier, of each deployment."""
        found: dict[str, dict[str, dict[str, Any]]] = {lineage: {} for lineage in lineages}
        for group in self._list_groups([tag_filter(LINEAGE, list(lineages))]):
            found[tags_of(group)[LINEAGE]][str(group["GroupId"])] = group
        return found

    def _terminate(self, ids: Sequence[str]) -> dict[str, DeployError | None]:
        return dict(self._inventory.terminate(ids))

    @property
    def _adjusting(self) -> Adjusting:
        return Adjusting(self._api, self._groups, self._by_id.ask, self._machine, self._pause)


def _is_there(described: Mapping[str, Any]) -> bool:
    tags = tags_of(described)
    return state_of(described) not in GONE and ADDRESS in tags and TOKEN in tags


def _is_part_missing(error: ProviderError) -> bool:
    return isinstance(error, ApiError) and error.code.startswith(_MISSING_PARTS)
