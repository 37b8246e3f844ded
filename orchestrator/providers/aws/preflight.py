"""What would make AWS refuse machines, found before anything is changed, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.diagnostics import Diagnostic, error, has_errors, note, warning
from orchestrator.errors import ProviderError
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.flavors import Flavor, Flavors
from orchestrator.providers.aws.images import Images
from orchestrator.providers.aws.instances import ALIVE, Instances, check_devices
from orchestrator.providers.aws.network import SharedParts, Subnet
from orchestrator.providers.aws.tags import check_labels
from orchestrator.providers.aws.way_out import nat_gateways_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import KEY_NAME, NETWORK, SUBNET, ZONE, setting
from orchestrator.providers.findings import finding, found_by


@dataclass(frozen=True, slots=True)
class _Quota:
    """A limit of cores that certain families share."""

    code: str
    families: tuple[str, ...]
    spot: bool


_QUOTAS = (
    _Quota("L-1216C47A", ("a", "c", "d", "h", "i", "m", "r", "t", "z"), spot=False),
    _Quota("L-34B43A08", ("a", "c", "d", "h", "i", "m", "r", "t", "z"), spot=True),
    _Quota("L-DB2E81BA", ("g", "vt"), spot=False),
    _Quota("L-3819A6DF", ("g", "vt"), spot=True),
    _Quota("L-417A185B", ("p",), spot=False),
    _Quota("L-7212CCBC", ("p",), spot=True),
)
"""Numbers of Service Quotas: cores of running instances, by the letters that names of sizes begin with."""

_ADDRESSES = "vpc-max-elastic-ips"


class Preflight:
    """Looks whether machines could be made.

    Args:
        api: Where.
        images: The images there.
        flavors: The sizes there.
        parts: What machines share.
        instances: The instances there.
    """

    def __init__(self, api: Api, images: Images, flavors: Flavors, parts: SharedParts, instances: Instances) -> None:
        self._api = api
        self._images = images
        self._flavors = flavors
        self._parts = parts
        self._instances = instances

    def check(self, requests: Sequence[MachineRequest]) -> list[Diagnostic]:
        """Findings, each with the address that it concerns; without credentials that is the only one."""
        if not requests:
            return []
        refused = list(found_by([lambda: self._api.call("get_caller_identity", "asking who we are", service="sts")]))
        if refused:
            return [*refused, *self._about_region()]
        found: list[Diagnostic] = []
        chosen: dict[str, Flavor] = {}
        for request in requests:
            found += self._one(request, chosen)
        found += _chosen_sizes(requests, chosen)
        found += self._limits(requests, chosen)
        if not has_errors(found):
            found += self._rights(requests[0], chosen)
        if has_errors(found):
            found += self._about_region()
        return list(dict.fromkeys(found))

    def _about_region(self) -> Iterator[Diagnostic]:
        """Whether the reason may be that there is no such region, whose name is a part of what is asked."""
        if not self._api.knows_region():
            yield warning(
                "The region of AWS is not known.",
                f"This version knows no region {self._api.region!r}. See that the image (operatingSystemImageId) or "
                "--provider names the right one.",
            )

    def _one(self, request: MachineRequest, chosen: dict[str, Flavor]) -> Iterator[Diagnostic]:
        """Image, flavor, subnet, zone and key of one machine."""
        subnet: list[Subnet | None] = [None]

        def look_at_flavor() -> None:
            chosen[request.address] = self._flavors.choose(request)

        def look_at_subnet() -> None:
            subnet[0] = self._parts.given_subnet(request)

        def look_at_image() -> None:
            check_devices(self._images.of(request), request)

        def look_at_zone() -> None:
            if flavor := chosen.get(request.address):
                pick_zones(self._flavors.zones(flavor.name), request, flavor, subnet[0])

        checks: list[Callable[[], object]] = [look_at_image, look_at_flavor, look_at_subnet, look_at_zone]
        checks += [lambda: self._check_key(request), lambda: check_labels(request)]
        yield from found_by(checks, request.address)

    def _check_key(self, request: MachineRequest) -> None:
        name = setting(request, KEY_NAME)
        if not name:
            return
        filters = [{"Name": "key-name", "Values": [name]}]
        if not self._api.list("describe_key_pairs", "KeyPairs", f"looking for the key pair {name}", Filters=filters):
            raise ProviderError(
                "The key pair that was given is not there.",
                detail=f"{request.address} is to be made with the key pair {name}, which {self._api.region} does not "
                "have.",
                resolution="Correct `key_name`, or leave it out to have one made.",
            )

    def _limits(self, requests: Sequence[MachineRequest], chosen: dict[str, Flavor]) -> Iterator[Diagnostic]:
        """Quotas, for all of them together and what runs already."""
        try:
            yield from self._address_limit(requests)
            running = self._running()
        except ProviderError as problem:
            yield finding(problem, "")
            return
        for quota in _QUOTAS:
            wanted = [
                r
                for r in requests
                if r.address in chosen and r.spot == quota.spot and _is_in(chosen[r.address].name, quota)
            ]
            if not wanted:
                continue
            cores = sum(chosen[r.address].cpus for r in wanted)
            used = sum(flavor.cpus for flavor, spot in running if spot == quota.spot and _is_in(flavor.name, quota))
            limit = self._limit(quota)
            if limit is None:
                what = f"cores of {wanted[0].address} and {len(wanted) - 1} more" if wanted[1:] else wanted[0].address
                yield note("A quota could not be looked up.", f"Service Quotas does not tell {quota.code} ({what}).")
            elif used + cores > limit:
                yield error(
                    "A quota of the AWS account does not suffice.",
                    f"{len(wanted)} machines need {cores} cores of the families {', '.join(quota.families)}"
                    f"{' as spot' if quota.spot else ''}; {used} are used, and {self._api.region} allows {limit:g} "
                    f"({quota.code}). Have it raised in Service Quotas, or ask for less.",
                    address=wanted[0].address,
                )

    def _address_limit(self, requests: Sequence[MachineRequest]) -> Iterator[Diagnostic]:
        needed = [request.address for request in requests if request.access.public]
        inside = next((request for request in requests if needs_nat_gateway(request)), None)
        if inside is not None and not nat_gateways_of(self._api, inside.deployment, "looking for a NAT gateway"):
            yield note(
                "A NAT gateway is made.",
                f"{inside.address} gets no public address and needs a way out of the network that is made for the "
                f"deployment. AWS charges for the gateway by the hour (about 0.05 USD) and by the GB as long as the "
                "deployment is there. `--public-addresses all`, or a `--subnet` of your own, does without.",
                address=inside.address,
            )
            needed.append(inside.address)
        if not needed:
            return
        answer = self._api.call("describe_account_attributes", "asking for quotas", AttributeNames=[_ADDRESSES])
        told = answer["AccountAttributes"]
        limits = [a["AttributeValues"][0]["AttributeValue"] for a in told if a["AttributeName"] == _ADDRESSES]
        used = len(self._api.list("describe_addresses", "Addresses", "counting public addresses"))
        if limits and used + len(needed) > int(limits[0]):
            yield error(
                "A quota of the AWS account does not suffice.",
                f"{len(needed)} public addresses are needed; {used} are used, and {self._api.region} allows "
                f"{limits[0]}. Have it raised in Service Quotas (Elastic IP addresses), or give fewer machines one.",
                address=needed[0],
            )

    def _running(self) -> list[tuple[Flavor, bool]]:
        """Size of each instance of the account there, and whether it is spot."""
        filters = [{"Name": "instance-state-name", "Values": list(ALIVE)}]
        found = self._instances.list("counting the machines that run", filters)
        flavors = self._flavors.describe({str(i["InstanceType"]) for i in found})
        return [
            (flavors[i["InstanceType"]], i.get("InstanceLifecycle") == "spot")
            for i in found
            if i["InstanceType"] in flavors and i["State"]["Name"] != "stopped"
        ]

    def _limit(self, quota: _Quota) -> float | None:
        """``None`` where nobody tells: no right to ask, or not known there."""
        try:
            answer = self._api.call(
                "get_service_quota",
                "asking for quotas",
                service="service-quotas",
                ServiceCode="ec2",
                QuotaCode=quota.code,
            )
        except ProviderError:
            return None
        return float(answer["Quota"]["Value"])

    def _rights(self, request: MachineRequest, chosen: dict[str, Flavor]) -> Iterator[Diagnostic]:
        """Whether this user may make machines at all, by an order that is not carried out."""
        arguments: dict[str, Any] = {
            "ImageId": request.image.rpartition("/")[2],
            "InstanceType": chosen[request.address].name,
            "MinCount": 1,
            "MaxCount": 1,
            "DryRun": True,
        }
        if key_name := setting(request, KEY_NAME):
            arguments["KeyName"] = key_name
        if subnet := setting(request, SUBNET):
            arguments["SubnetId"] = subnet
        try:
            self._api.call("run_instances", "trying whether machines may be made", **arguments)
        except ApiError as problem:
            if problem.code in {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}:
                yield finding(problem, request.address)
            elif problem.code != "DryRunOperation":
                yield warning(
                    "Whether machines may be made could not be tried.", problem.detail, address=request.address
                )


def _chosen_sizes(requests: Sequence[MachineRequest], chosen: Mapping[str, Flavor]) -> Iterator[Diagnostic]:
    """What was chosen where nobody named a size, each once: it is what is paid for."""
    addresses: dict[Flavor, list[str]] = {}
    for request in requests:
        if not request.flavor and request.address in chosen:
            addresses.setdefault(chosen[request.address], []).append(request.address)
    for flavor, named in addresses.items():
        more = f" and {len(named) - 1} more" if named[1:] else ""
        yield note(
            "A flavor was chosen.",
            f"{named[0]}{more}: {flavor.in_words()}. It comes first of all that have what is asked for, in the order "
            "that docs/clouds.md tells. `flavorName` names another.",
            address=named[0],
        )


def pick_zones(
    offered: Sequence[str], request: MachineRequest, flavor: Flavor, subnet: Subnet | None
) -> tuple[str, ...]:
    """The zones where a machine can be put, in order.

    Args:
        offered: Zones that have the flavor.
        request: The machine.
        flavor: Its size.
        subnet: The user's own, if there is one.

    Raises:
        ProviderError: If there are none.
    """
    wanted = subnet.zone if subnet else setting(request, ZONE)
    zones = tuple(zone for zone in offered if not wanted or zone == wanted)
    if not zones:
        where = f"the zone {wanted}" if wanted else "any zone"
        reason = f" of the subnet {subnet.id}" if subnet else ""
        raise ProviderError(
            "The flavor is not offered in the zone.",
            detail=f"{request.address} is to be a {flavor.name}, which {where}{reason} does not have; those that do: "
            f"{', '.join(offered) or 'none'}.",
            resolution=f"Name another flavor, `{ZONE}`, `{SUBNET}` or `{NETWORK}`.",
        )
    return zones


def needs_nat_gateway(request: MachineRequest) -> bool:
    """Whether a machine goes out through a NAT gateway of ours."""
    return not (request.access.public or setting(request, SUBNET) or setting(request, NETWORK))


def _is_in(name: str, quota: _Quota) -> bool:
    """Whether cores of a size count against a quota: ``vt1`` is no ``t``, ``trn1`` neither."""
    family = name.partition(".")[0]
    start = next((i for i, character in enumerate(family) if character.isdigit()), len(family))
    return _kind_of(family[:start]) in quota.families


def _kind_of(letters: str) -> str:
    """The letter by which AWS counts a family: ``gr`` is a ``g``, ``im`` and ``is`` are ``i``, ``inf`` is itself."""
    if letters in {"inf", "trn", "dl", "u", "hpc", "mac", "f", "vt", "x"}:
        return letters
    return letters[:1]
