"""What would make OpenStack refuse machines, found before anything is changed, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.diagnostics import Diagnostic, error, note, warning
from orchestrator.errors import ProviderError
from orchestrator.providers.access_rules import rules_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import KEY_NAME, NETWORK, SUBNET, ZONE, setting
from orchestrator.providers.findings import finding, found_by
from orchestrator.providers.openstack.api import CINDER, NEUTRON, NOVA, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.flavors import Flavor, Flavors, check_spot
from orchestrator.providers.openstack.images import Image, Images
from orchestrator.providers.openstack.marks import mark_of
from orchestrator.providers.openstack.network import EXTERNAL, SharedParts
from orchestrator.providers.openstack.servers import root_volume_gb
from orchestrator.providers.openstack.volumes import Volumes

_WORDS = {
    "instances": ("machines", "maxTotalInstances", "totalInstancesUsed"),
    "cores": ("cores", "maxTotalCores", "totalCoresUsed"),
    "memory": ("MB of memory", "maxTotalRAMSize", "totalRAMUsed"),
}
"""Quotas of nova: in words, and where its limits are told."""

_PARTS = {
    "floatingip": "public addresses",
    "port": "ports",
    "security_group": "security groups",
    "security_group_rule": "security rules",
    "network": "networks",
    "subnet": "subnets",
    "router": "routers",
}
"""Quotas of neutron, in words."""

_VOLUMES = {"volumes": "volumes", "gigabytes": "GB of volumes"}
"""Quotas of cinder, in words."""


class Preflight:
    """Looks whether machines could be made.

    Args:
        api: Where.
        images: The images there.
        flavors: The sizes there.
        parts: What machines share.
        volumes: The volumes there.
    """

    def __init__(self, api: Api, images: Images, flavors: Flavors, parts: SharedParts, volumes: Volumes) -> None:
        self._api = api
        self._images = images
        self._flavors = flavors
        self._parts = parts
        self._volumes = volumes
        self._sizes: dict[str, list[int]] = {}
        self._zones: list[str] | None = None
        self._fine: set[tuple[object, ...]] = set()

    def check(self, requests: Sequence[MachineRequest]) -> list[Diagnostic]:
        """Findings, each with the address that it concerns; without credentials that is the only one."""
        if not requests:
            return []
        refused = list(found_by([self._api.project]))
        if refused:
            return refused
        found: list[Diagnostic] = []
        chosen: dict[str, Flavor] = {}
        for request in requests:
            found += self._one(request, chosen)
        for limits in (self._machine_limits, self._network_limits, self._volume_limits):
            try:
                found += limits(requests, chosen)
            except ProviderError as problem:
                found.append(finding(problem, ""))
        return list(dict.fromkeys(found))

    def _one(self, request: MachineRequest, chosen: dict[str, Flavor]) -> Iterator[Diagnostic]:
        """Image, flavor, network, key and zone of one machine."""
        image: list[Image] = []

        def look_at_image() -> None:
            image.append(self._images.of(request))

        def look_at_flavor() -> None:
            told = image[0] if image else None
            flavor = chosen[request.address] = self._flavors.choose(replace(request, spot=False), told)
            root = root_volume_gb(request, told, flavor)
            self._sizes[request.address] = [*([root] if root else []), *request.volumes_gb]

        others = (self._check_network, self._check_key, self._check_zone, self._volumes.check)
        checks: list[Callable[[], object]] = [partial(check_spot, request), look_at_image, look_at_flavor]
        yield from found_by([*checks, *(partial(check, request) for check in others)], request.address)
        if image and not image[0].architecture:
            yield warning(
                "The image does not say what processors it is for.",
                f"{request.address} is to be made from {image[0].id}, and has to be {request.architecture}. Set "
                "hw_architecture on the image.",
                address=request.address,
            )

    def _check_network(self, request: MachineRequest) -> None:
        """Once for all that ask for the same."""
        asked = (*(setting(request, name) for name in (NETWORK, SUBNET, EXTERNAL)), request.access.public)
        if asked not in self._fine:
            given = self._parts.given_network(request)
            if given and request.access.public:
                self._parts.outside_of(request, given)
            elif not given:
                self._parts.external_network(request)
            self._fine.add(asked)

    def _check_key(self, request: MachineRequest) -> None:
        """The same."""
        asked = (KEY_NAME, setting(request, KEY_NAME))
        if asked not in self._fine:
            self._parts.check_key(request)
            self._fine.add(asked)

    def _check_zone(self, request: MachineRequest) -> None:
        wanted = setting(request, ZONE)
        if not wanted:
            return
        if self._zones is None:
            told = self._api.get(NOVA, "/os-availability-zone", "looking for the zones")["availabilityZoneInfo"]
            self._zones = sorted(str(z["zoneName"]) for z in told if (z.get("zoneState") or {}).get("available", True))
        if wanted not in self._zones:
            raise ProviderError(
                "There is no such zone.",
                detail=f"{request.address} is to be made in {wanted}; {self._api.place} has: {', '.join(self._zones)}.",
                resolution=f"Correct `{ZONE}`, or leave it out.",
            )

    def _machine_limits(self, requests: Sequence[MachineRequest], chosen: Mapping[str, Flavor]) -> Iterator[Diagnostic]:
        """Quotas of nova, for all of them together and what is there already."""
        told = self._api.get(NOVA, "/limits", "asking for quotas")["limits"]["absolute"]
        flavors = [chosen[r.address] for r in requests if r.address in chosen]
        wanted = {
            "instances": len(requests),
            "cores": sum(f.cpus for f in flavors),
            "memory": sum(f.memory_mb for f in flavors),
        }
        for name, number in wanted.items():
            words, limit, used = _WORDS[name]
            yield from _exceeded(words, number, int(told.get(used, 0)), int(told.get(limit, -1)), requests[0].address)

    def _network_limits(self, requests: Sequence[MachineRequest], _: Mapping[str, Flavor]) -> Iterator[Diagnostic]:
        """Quotas of neutron, for all that is to be made and not there yet."""
        project = self._api.project()
        try:
            told = self._api.get(NEUTRON, f"/quotas/{project}/details", "asking for quotas")["quota"]
        except ApiError as problem:
            if problem.transient or problem.status not in {403, 404}:
                raise
            yield note(
                "A quota could not be looked up.", f"The cloud does not tell those of networks: {problem.detail}"
            )
            return
        wanted = {"port": len(requests), "floatingip": sum(r.access.public for r in requests)}
        first = requests[0]
        if not self._is_given(first) and not self._has_network(first, project):
            # The router and whoever hands out addresses have a port each, besides.
            wanted |= {"network": 1, "subnet": 1, "router": 1, "port": wanted["port"] + 2}
        groups = {what: len(rules) for request in requests for what, rules in rules_of(request).items()}
        wanted |= {"security_group": len(groups), "security_group_rule": sum(groups.values()) + 2 * len(groups)}
        if self._has_groups(first, project):
            del wanted["security_group"], wanted["security_group_rule"]
        for name, number in wanted.items():
            limit = told.get(name)
            if isinstance(limit, Mapping) and number:
                used = int(limit.get("used", 0)) + int(limit.get("reserved", 0))
                address = next((r.address for r in requests if name != "floatingip" or r.access.public), "")
                yield from _exceeded(_PARTS[name], number, used, int(limit.get("limit", -1)), address)

    def _volume_limits(self, requests: Sequence[MachineRequest], _: Mapping[str, Flavor]) -> Iterator[Diagnostic]:
        """Quotas of cinder, for all of them together and what is there already."""
        wanted = [(size, r.address) for r in requests for size in self._sizes.get(r.address, ())]
        if not wanted or not self._flavors.has_volumes():
            return
        path = f"/os-quota-sets/{self._api.project()}"
        try:
            told = self._api.get(CINDER, path, "asking for quotas", usage="true")["quota_set"]
        except ApiError as problem:
            if problem.transient or problem.status not in {403, 404}:
                raise
            yield note("A quota could not be looked up.", f"The cloud does not tell those of volumes: {problem.detail}")
            return
        numbers = {"volumes": len(wanted), "gigabytes": sum(size for size, _ in wanted)}
        for name, number in numbers.items():
            if isinstance(limit := told.get(name), Mapping):
                used = int(limit.get("in_use", 0)) + int(limit.get("reserved", 0))
                yield from _exceeded(_VOLUMES[name], number, used, int(limit.get("limit", -1)), wanted[0][1])
        limit = told.get("per_volume_gigabytes")
        most = int(limit.get("limit", -1)) if isinstance(limit, Mapping) else -1
        for size, address in wanted:
            if 0 <= most < size:
                yield error(
                    "A volume is larger than the project may have.",
                    f"{address} is to have one of {size} GB; {most} GB are allowed. Ask for several smaller ones.",
                    address=address,
                )

    def _is_given(self, request: MachineRequest) -> bool:
        try:
            return bool(self._parts.given_network(request))
        except ProviderError:
            return True

    def _has_network(self, request: MachineRequest, project: str) -> bool:
        return self._is_there(request, project, "networks")

    def _has_groups(self, request: MachineRequest, project: str) -> bool:
        return self._is_there(request, project, "security-groups")

    def _is_there(self, request: MachineRequest, project: str, kind: str) -> bool:
        doing = f"looking for what {request.deployment.name} has already"
        found: list[dict[str, Any]] = self._api.list(
            NEUTRON, f"/{kind}", kind.replace("-", "_"), doing, project_id=project
        )
        return any((mark := mark_of(one)) is not None and mark.is_of(request.deployment) for one in found)


def _exceeded(what: str, wanted: int, used: int, limit: int, address: str) -> Iterator[Diagnostic]:
    if limit < 0 or used + wanted <= limit:
        return
    yield error(
        "A quota of the project does not suffice.",
        f"{what}: {wanted} are needed; {used} are used, and {limit} are allowed. Have it raised by whoever runs the "
        "cloud, or ask for less.",
        address=address,
    )
