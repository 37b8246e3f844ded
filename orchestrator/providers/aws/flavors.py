"""Sizes of machines: what EC2 offers, where, and which is the cheapest that has what is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.api import Api
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.sizes import (
    as_sold,
    check_flavor,
    gpus_wanted,
    is_model,
    no_such_flavor,
    wanted_in_words,
    wants_gpu,
)

ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
"""What we call an architecture, and what AWS calls it."""

_OTHERWISE = "the cheapest"
"""What is taken where no size is named."""

SGX_IS_NOT_OFFERED = (
    "EC2 offers no SGX enclaves (its Nitro Enclaves are something else, which SCONE does not run in). Put what needs "
    "them on another resource, or leave the requirement out."
)

_CORE, _BURSTABLE, _ARM = 11.0, 3.0, 0.8
"""What a core costs as against a GiB of memory, a GiB of a size with borrowed cores, and a size with ARM cores."""


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size.

    Attributes:
        name: AWS's name, e.g. ``t3.small``.
        architectures: As AWS calls them.
        cpus: Cores.
        memory_mb: Memory in MiB.
        gpus: Whole graphics processors.
        gpu_memory_mb: Memory of one.
        gpu_models: Who made them, and their model.
        burstable: Whether cores are only borrowed for a while.
        spot: Whether it may be had as spot.
        on_demand: Whether it may be had otherwise.
        uefi: Whether it boots as secure boot needs it.
        tpm: Whether it has a TPM to measure with.
        current: Whether AWS calls it up to date.
        old: Whether it runs on Xen, which only older families do; later ones with as much cost less.
    """

    name: str
    architectures: frozenset[str]
    cpus: int
    memory_mb: int
    gpus: int = 0
    gpu_memory_mb: int = 0
    gpu_models: tuple[str, ...] = ()
    burstable: bool = False
    spot: bool = True
    on_demand: bool = True
    uefi: bool = False
    tpm: bool = False
    current: bool = True
    old: bool = False

    @property
    def cost(self) -> tuple[float, ...]:
        """What flavors are ordered by; see docs/clouds.md."""
        memory = self.memory_mb / 1024
        size = _BURSTABLE * memory if self.burstable else _CORE * self.cpus + memory
        if "x86_64" not in self.architectures:
            size *= _ARM
        return (self.gpus * self.gpu_memory_mb, size, self.cpus, not self.current, self.old)

    def in_words(self) -> str:
        """Its name, and what a person wants to know of it."""
        parts = [f"{self.cpus} cores", f"{self.memory_mb / 1024:g} GiB of memory"]
        if self.gpus:
            models = ", ".join(self.gpu_models)
            parts.append(f"{self.gpus} of {models} with {self.gpu_memory_mb} MiB")
        return f"{self.name} ({', '.join(parts)})"


def parse_flavor(described: Mapping[str, Any]) -> Flavor:
    """A size from EC2's description."""
    gpus = (described.get("GpuInfo") or {}).get("Gpus", [])
    usage = described.get("SupportedUsageClasses", ["on-demand", "spot"])
    return Flavor(
        name=str(described["InstanceType"]),
        architectures=frozenset(described.get("ProcessorInfo", {}).get("SupportedArchitectures", [])),
        cpus=int(described["VCpuInfo"]["DefaultVCpus"]),
        memory_mb=int(described["MemoryInfo"]["SizeInMiB"]),
        gpus=sum(int(gpu.get("Count", 0)) for gpu in gpus),
        gpu_memory_mb=max((int(gpu.get("MemoryInfo", {}).get("SizeInMiB", 0)) for gpu in gpus), default=0),
        gpu_models=tuple(f"{gpu.get('Manufacturer', '')} {gpu.get('Name', '')}".strip() for gpu in gpus),
        burstable=bool(described.get("BurstablePerformanceSupported")),
        spot="spot" in usage,
        on_demand="on-demand" in usage,
        uefi="uefi" in described.get("SupportedBootModes", []),
        tpm=described.get("NitroTpmSupport") == "supported",
        current=bool(described.get("CurrentGeneration", True)),
        old=described.get("Hypervisor") == "xen",
    )


def lacks(flavor: Flavor, request: MachineRequest) -> list[str]:
    """What a size does not have of what is asked for; empty if it will do."""
    gpus = gpus_wanted(request)
    checks = (
        (ARCHITECTURES.get(request.architecture) in flavor.architectures, f"{request.architecture} processors"),
        (flavor.cpus >= request.cpus, f"{request.cpus} cores (it has {flavor.cpus})"),
        (flavor.memory_mb >= request.memory_mb, f"{request.memory_mb} MB of memory (it has {flavor.memory_mb})"),
        (flavor.gpus >= gpus, f"{gpus} graphics processors (it has {flavor.gpus})"),
        (
            flavor.gpu_memory_mb >= as_sold(request.gpu_memory_mb),
            f"{request.gpu_memory_mb} MB of graphics memory (it has {flavor.gpu_memory_mb})",
        ),
        (is_model(flavor.gpu_models, request.gpu_model), f"graphics processors {request.gpu_model}"),
        (not request.sgx, "SGX enclaves, which EC2 does not offer"),
        (not (request.secure_boot or request.measured_boot) or flavor.uefi, "a UEFI boot, for secure boot"),
        (not request.measured_boot or flavor.tpm, "a TPM, for measured boot"),
        (flavor.spot if request.spot else flavor.on_demand, "a spot offer" if request.spot else "an offer but spot"),
    )
    return [what for present, what in checks if not present]


def fitting(flavors: Iterable[Flavor], request: MachineRequest) -> list[Flavor]:
    """What has all that is asked for, in the documented order; no graphics processors where none are asked for."""
    found = [flavor for flavor in flavors if not lacks(flavor, request) and (not flavor.gpus or wants_gpu(request))]
    return sorted(found, key=lambda flavor: (flavor.cost, flavor.name))


class Flavors:
    """What a region offers, asked once. Safe to use from several threads.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = Lock()
        self._named: dict[str, Flavor] = {}
        self._listed: dict[str, tuple[Flavor, ...]] = {}
        self._zones: dict[str, tuple[str, ...]] = {}
        self._chosen: dict[tuple[object, ...], Flavor] = {}

    def choose(self, request: MachineRequest) -> Flavor:
        """The size as named, or the cheapest that has what is asked for.

        Raises:
            ProviderError: If there is none.
        """
        with self._lock:
            if request.flavor:
                return self._named_one(request)
            wants = (request.architecture, request.cpus, request.memory_mb, request.gpus, request.gpu_memory_mb)
            key = (*wants, request.gpu_model, request.sgx, request.secure_boot, request.measured_boot, request.spot)
            if key not in self._chosen:
                self._chosen[key] = self._cheapest(request)
            return self._chosen[key]

    def describe(self, names: Iterable[str]) -> dict[str, Flavor]:
        """Sizes by name; those that are not there are left out."""
        missing = sorted(set(names) - self._named.keys())
        if missing:
            filters = [{"Name": "instance-type", "Values": missing}]
            doing = f"looking for the flavors {', '.join(missing)}"
            for found in self._api.list("describe_instance_types", "InstanceTypes", doing, Filters=filters):
                flavor = parse_flavor(found)
                self._named[flavor.name] = flavor
        return {name: self._named[name] for name in names if name in self._named}

    def zones(self, name: str) -> tuple[str, ...]:
        """Zones of the region that offer a size, in order; those at other places (local zones) are left out."""
        if name not in self._zones:
            found = self._api.list(
                "describe_instance_type_offerings",
                "InstanceTypeOfferings",
                f"looking where the flavor {name} is offered",
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": [name]}],
            )
            zone = re.compile(re.escape(self._api.region) + "[a-z]")
            self._zones[name] = tuple(sorted(str(o["Location"]) for o in found if zone.fullmatch(str(o["Location"]))))
        return self._zones[name]

    def _named_one(self, request: MachineRequest) -> Flavor:
        found = self.describe([request.flavor]).get(request.flavor)
        if found is None:
            raise no_such_flavor(request, f"{self._api.region} does not offer", _OTHERWISE)
        check_flavor(request, lacks(found, request), _OTHERWISE)
        return found

    def _cheapest(self, request: MachineRequest) -> Flavor:
        if request.sgx:
            raise ProviderError(
                "No flavor has what is asked for.",
                detail=f"{request.address} needs SGX. {SGX_IS_NOT_OFFERED}",
            )
        for flavor in self._in_order(request):
            if self.zones(flavor.name):
                return flavor
        raise ProviderError(
            "No flavor has what is asked for.",
            detail=f"{request.address} needs {wanted_in_words(request)}; {self._api.region} offers no such machine.",
            resolution="Ask for less, or use another region.",
        )

    def _in_order(self, request: MachineRequest) -> Sequence[Flavor]:
        """All that will do, the cheapest first."""
        architecture = ARCHITECTURES.get(request.architecture, request.architecture)
        if architecture not in self._listed:
            filters = [
                {"Name": "processor-info.supported-architecture", "Values": [architecture]},
                {"Name": "bare-metal", "Values": ["false"]},
            ]
            doing = "listing the flavors"
            found = self._api.list("describe_instance_types", "InstanceTypes", doing, Filters=filters)
            self._listed[architecture] = tuple(parse_flavor(one) for one in found)
        return fitting(self._listed[architecture], request)
