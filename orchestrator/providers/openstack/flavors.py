"""Sizes of machines: what a cloud offers, and which is the smallest that has what is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.openstack.api import NOVA, Api
from orchestrator.providers.openstack.images import Image
from orchestrator.providers.sizes import (
    as_sold,
    check_flavor,
    gpus_wanted,
    is_model,
    no_such_flavor,
    wanted_in_words,
    wants_gpu,
)

GPU_MEMORY_GB = {
    "a10": 24, "a100": 40, "a16": 16, "a2": 16, "a30": 24, "a40": 48, "gtx1080": 8, "gtx1080ti": 11, "h100": 80,
    "h200": 141, "k80": 12, "l4": 24, "l40": 48, "l40s": 48, "m60": 8, "p100": 16, "p4": 8, "p40": 24, "rtx2080ti": 11,
    "rtx3090": 24, "rtx4090": 24, "rtx5000": 16, "rtx6000": 24, "rtx8000": 48, "t4": 16, "v100": 16,
}  # fmt: skip
"""GB of memory of graphics processors, of the smallest that is sold under the name: OpenStack says models at most."""

_OTHERWISE = "the smallest"
"""What is taken where no size is named."""

_CORE = 11.0
"""What a core counts as against a GiB of memory."""
_ARCHITECTURE_TRAITS = {"COMPUTE_ARCH_AARCH64": "arm64", "COMPUTE_ARCH_X86_64": "amd64"}
_PLAIN = {"VCPU", "PCPU", "MEMORY_MB", "DISK_GB"}
_SECURE = "COMPUTE_SECURITY_UEFI_SECURE_BOOT"


@dataclass(frozen=True, slots=True)
class Flavor:
    """A size.

    Attributes:
        id: Identifier.
        name: The cloud's name.
        cpus: Cores.
        memory_mb: Memory in MiB.
        disk_gb: Its own disk in GiB; 0 if it has none, so that it boots from a volume.
        gpus: Graphics processors.
        gpu_models: Their models, as far as it says.
        gpu_memory_mb: Memory of one, as far as that is known; 0 otherwise.
        sgx: Whether it offers SGX enclaves.
        secure_boot: Whether it boots signed software only.
        tpm: Whether it has a TPM to measure with.
        architecture: Of its processors, if it says so; empty otherwise.
        special: What else it asks of a host that not every one has.
    """

    id: str
    name: str
    cpus: int
    memory_mb: int
    disk_gb: int
    gpus: int = 0
    gpu_models: tuple[str, ...] = ()
    gpu_memory_mb: int = 0
    sgx: bool = False
    secure_boot: bool = False
    tpm: bool = False
    architecture: str = ""
    special: tuple[str, ...] = ()


def parse_flavor(described: Mapping[str, Any]) -> Flavor:
    """A size from nova's description."""
    specs = {str(k): str(v) for k, v in (described.get("extra_specs") or {}).items()}
    wanted = {k.rpartition(":")[2] for k, v in specs.items() if k.startswith("trait") and v == "required"}
    resources = {k.rpartition(":")[2]: _number(v) for k, v in specs.items() if k.startswith("resources")}
    devices = _devices(specs.get("pci_passthrough:alias", ""))
    gpus = {name: count for name, count in (resources | devices).items() if _is_gpu(name) or memory_of(name)}
    models = tuple(sorted({*gpus, *(t for t in wanted if "GPU" in _words(t) or memory_of(t))})) if gpus else ()
    sgx = any("SGX" in _words(name) for name in (*wanted, *resources))
    plain = {*_PLAIN, *gpus, *models, *_ARCHITECTURE_TRAITS, _SECURE}
    return Flavor(
        id=str(described["id"]),
        name=str(described["name"]),
        cpus=int(described["vcpus"]),
        memory_mb=int(described["ram"]),
        disk_gb=int(described.get("disk") or 0),
        gpus=sum(gpus.values()),
        gpu_models=models,
        gpu_memory_mb=max((memory_of(name) for name in (*models, str(described["name"]))), default=0) if gpus else 0,
        sgx=sgx,
        secure_boot=specs.get("os:secure_boot") == "required" or _SECURE in wanted,
        tpm=bool(specs.get("hw:tpm_version")),
        architecture=next((a for trait, a in _ARCHITECTURE_TRAITS.items() if trait in wanted), ""),
        special=tuple(sorted(name for name in (*wanted, *resources, *devices) if name not in plain)),
    )


def memory_of(name: str) -> int:
    """MiB of the graphics processor that a name tells of (``CUSTOM_GPU_A100``, ``nvidia-t4``); 0 if it tells none."""
    words = [word.lower() for word in _words(name)]
    joined = [*words, *(a + b for a, b in pairwise(words))]
    found = max((GPU_MEMORY_GB.get(word, 0) for word in joined), default=0)
    # Some say it themselves: CUSTOM_GPU_A100_80GB.
    told = re.search(r"(\d+)_?GB(?![A-Z])", name.upper())
    return (int(told.group(1)) if found and told else found) * 1024


def lacks(flavor: Flavor, request: MachineRequest, image: Image | None, *, volumes: bool) -> list[str]:
    """What a size does not have of what is asked for; empty if it will do.

    Args:
        flavor: The size.
        request: The machine.
        image: What it is made from, if that is known.
        volumes: Whether the cloud makes disks of any size.
    """
    gpus = gpus_wanted(request)
    memory = max(request.memory_mb, image.min_memory if image else 0)
    disk = disk_of(request, image)
    checks = (
        (flavor.architecture in {"", request.architecture}, f"{request.architecture} processors"),
        (flavor.cpus >= request.cpus, f"{request.cpus} cores (it has {flavor.cpus})"),
        (flavor.memory_mb >= memory, f"{memory} MB of memory (it has {flavor.memory_mb})"),
        (
            volumes or 0 < flavor.disk_gb >= disk,
            f"a disk of {disk} GB (it has {flavor.disk_gb}, and there are no volumes)",
        ),
        (flavor.gpus >= gpus, f"{gpus} graphics processors (it has {flavor.gpus})"),
        (
            flavor.gpu_memory_mb >= as_sold(request.gpu_memory_mb),
            f"{request.gpu_memory_mb} MB of graphics memory ({_known(flavor)})",
        ),
        (_has_model(flavor, request.gpu_model), f"graphics processors {request.gpu_model}"),
        (not request.sgx or flavor.sgx, "SGX enclaves"),
        (
            not request.secure_boot or flavor.secure_boot or (image is not None and image.secure_boot == "required"),
            "secure boot (os:secure_boot, which the image does not ask for either)",
        ),
        (
            not request.measured_boot or flavor.tpm or (image is not None and image.tpm),
            "a TPM (hw:tpm_version), for measured boot",
        ),
    )
    return [what for present, what in checks if not present]


def disk_of(request: MachineRequest, image: Image | None) -> int:
    """GiB that the disk needs at least."""
    return max(request.disk_gb, image.min_disk if image else 0)


def needs_volume(flavor: Flavor, request: MachineRequest, image: Image | None) -> bool:
    """Whether it boots from a volume, because the size's own disk does not suffice."""
    return flavor.disk_gb == 0 or flavor.disk_gb < disk_of(request, image)


def fitting(flavors: Iterable[Flavor], request: MachineRequest, image: Image | None, *, volumes: bool) -> list[Flavor]:
    """What has all that is asked for, in the documented order; no graphics processors where none are asked for."""
    found = [
        flavor
        for flavor in flavors
        if not lacks(flavor, request, image, volumes=volumes) and (not flavor.gpus or wants_gpu(request))
    ]

    def order(flavor: Flavor) -> tuple[object, ...]:
        unasked = len(flavor.special) if not request.sgx else 0
        size = _CORE * flavor.cpus + flavor.memory_mb / 1024
        volume = needs_volume(flavor, request, image)
        return (unasked, flavor.gpus * flavor.gpu_memory_mb, flavor.gpus, size, volume, flavor.disk_gb, flavor.name)

    return sorted(found, key=order)


def check_spot(request: MachineRequest) -> None:
    """See that nothing is asked for that no flavor has.

    Raises:
        ProviderError: If it is to be a spot machine.
    """
    if request.spot:
        raise ProviderError(
            "OpenStack offers no spot machines.",
            detail=f"{request.address} is to be one, which a cloud may take back, for a lower price.",
            resolution="Leave `onSpot` out, or put them on a cloud that has such machines (aws://…).",
        )


class Flavors:
    """What a cloud offers to the project, listed once. Safe to use from several threads.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = Lock()
        self._listed: tuple[Flavor, ...] | None = None
        self._volumes: bool | None = None

    def choose(self, request: MachineRequest, image: Image | None) -> Flavor:
        """The size as named, or the smallest that has what is asked for.

        Raises:
            ProviderError: If there is none.
        """
        check_spot(request)
        if request.flavor:
            return self._named_one(request, image)
        found = fitting(self.all(), request, image, volumes=self.has_volumes())
        if not found:
            raise ProviderError(
                "No flavor has what is asked for.",
                detail=f"{request.address} needs {wanted_in_words(request)}"
                f"{f', a disk of {disk_of(request, image)} GB' if disk_of(request, image) else ''}; {self._api.place} "
                "offers no such machine to this project.",
                resolution="Ask for less, name a flavor (`flavorName`), or have one made by whoever runs the cloud.",
            )
        return found[0]

    def named(self, name: str) -> Flavor | None:
        """A size by its name, or its identifier."""
        listed = self.all()
        return next((f for f in listed if f.name == name), None) or next((f for f in listed if f.id == name), None)

    def all(self) -> tuple[Flavor, ...]:
        """All that the project may use."""
        with self._lock:
            if self._listed is None:
                found = self._api.list(NOVA, "/flavors/detail", "flavors", "listing the flavors")
                self._listed = tuple(parse_flavor(f) for f in found if not f.get("OS-FLV-DISABLED:disabled"))
            return self._listed

    def has_volumes(self) -> bool:
        """Whether disks of any size are made."""
        if self._volumes is None:
            self._volumes = self._api.has_volumes()
        return self._volumes

    def _named_one(self, request: MachineRequest, image: Image | None) -> Flavor:
        found = self.named(request.flavor)
        if found is None:
            raise no_such_flavor(request, f"{self._api.place} does not offer to this project", _OTHERWISE)
        check_flavor(request, lacks(found, request, image, volumes=self.has_volumes()), _OTHERWISE)
        return found


def _has_model(flavor: Flavor, wanted: str) -> bool:
    """Whether the model is the wanted one; the names of OpenStack say no more than ``CUSTOM_GPU_V100``."""
    if not wanted:
        return True
    told = {w.lower() for name in (*flavor.gpu_models, flavor.name) for w in _words(name)}
    asked = [w.lower() for w in _words(wanted) if w.lower() not in {"nvidia", "amd", "intel", "tesla", "gpu"}]
    return (bool(asked) and all(word in told for word in asked)) or is_model(flavor.gpu_models, wanted)


def _known(flavor: Flavor) -> str:
    if not flavor.gpus:
        return "it has none"
    return f"it has {flavor.gpu_memory_mb}" if flavor.gpu_memory_mb else "its model, which would tell, is not known"


def _is_gpu(name: str) -> bool:
    return bool({"GPU", "VGPU", "PGPU"} & set(_words(name)))


def _devices(alias: str) -> dict[str, int]:
    """Devices of the host by their alias, and how many: ``a1:2,b1:1``."""
    pairs = [part.strip().partition(":") for part in alias.split(",") if part.strip()]
    return {name: _number(count or "1") for name, _, count in pairs}


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Z0-9]+", text.upper())
