"""Images that machines are made from: where they are, and for what processors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import quote

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.image_ids import ImageIds
from orchestrator.providers.openstack.api import GLANCE, Api
from orchestrator.providers.openstack.failures import ApiError

IDS = ImageIds(
    cloud="OpenStack",
    form="ost://<host>/<id>",
    elsewhere="at another cloud",
    move="Name an image of that cloud.",
    viewer="project",
)
"""How users write them."""

ARCHITECTURES = {"amd64": ("x86_64", "amd64"), "arm64": ("aarch64", "arm64")}
"""What we call an architecture, and what images call it."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image.

    Attributes:
        id: Identifier.
        architecture: As the image says it; empty if it does not.
        status: ``active`` if it can be used.
        min_disk: Least disk, in GiB.
        min_memory: Least memory, in MiB.
        uefi: Whether it boots in the way that secure boot needs.
        secure_boot: ``required``, ``optional``, or whatever else it says of secure boot.
        tpm: Whether it asks for a TPM.
        windows: Whether it is another system than machines need.
    """

    id: str
    architecture: str = ""
    status: str = "active"
    min_disk: int = 0
    min_memory: int = 0
    uefi: bool = False
    secure_boot: str = ""
    tpm: bool = False
    windows: bool = False


def parse_image(described: Mapping[str, Any]) -> Image:
    """An image from glance's description."""
    return Image(
        id=str(described["id"]),
        architecture=str(described.get("hw_architecture") or described.get("architecture") or "").lower(),
        status=str(described.get("status", "")),
        min_disk=int(described.get("min_disk") or 0),
        min_memory=int(described.get("min_ram") or 0),
        uefi=str(described.get("hw_firmware_type", "")).lower() == "uefi",
        secure_boot=str(described.get("os_secure_boot", "")).lower(),
        tpm=bool(described.get("hw_tpm_version")),
        windows=str(described.get("os_type", "")).lower() == "windows",
    )


def lacks(image: Image, request: MachineRequest) -> list[str]:
    """Why an image will not do, as clauses; empty if it will. One that names no processor is taken at its word."""
    fits = not image.architecture or image.architecture in ARCHITECTURES.get(request.architecture, ())
    guarded = request.secure_boot or request.measured_boot
    checks = (
        (image.status == "active", f"it is {image.status or 'not active'}"),
        (fits, f"it is for {image.architecture} processors and not {request.architecture} ones"),
        (not image.windows, "it is a Windows"),
        (not guarded or image.uefi, "it does not boot by UEFI (hw_firmware_type), which secure boot needs"),
        (
            not request.secure_boot or image.secure_boot != "disabled",
            "it does not let itself be booted securely (os_secure_boot)",
        ),
    )
    return [why for right, why in checks if not right]


class Images:
    """Images of a cloud, each asked for once. Safe to use from several threads.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = Lock()
        self._known: dict[str, Image] = {}

    def find(self, identifier: str) -> Image | None:
        """An image; ``None`` if it is not there."""
        with self._lock:
            if identifier not in self._known:
                doing = f"looking for the image {identifier}"
                try:
                    found = self._api.get(GLANCE, f"/images/{quote(identifier, safe='')}", doing)
                except ApiError as error:
                    if error.is_absent or error.status == 400:
                        return None
                    raise
                self._known[identifier] = parse_image(found)
            return self._known[identifier]

    def of(self, request: MachineRequest) -> Image:
        """The image of a machine.

        Raises:
            ProviderError: If it is not there, or will not do.
        """
        identifier = IDS.identifier(request, self._api.name)
        image = self.find(identifier)
        if image is None:
            raise self._named(request, identifier) or IDS.absent(request, identifier, self._api.place)
        IDS.check(request, identifier, lacks(image, request))
        return image

    def _named(self, request: MachineRequest, name: str) -> ProviderError | None:
        """What to say if images are called so: names are anybody's, and may change hands."""
        found = self._api.list(GLANCE, "/images", "images", f"looking for the image {name}", name=name)
        if not found:
            return None
        ids = ", ".join(f"ost://{self._api.name}/{image['id']}" for image in found)
        return ProviderError(
            "There is no such image.",
            detail=f"{request.address} is to be made from {name}, which is a name at {self._api.place}.",
            resolution=f"Write the identifier (operatingSystemImageId): {ids}.",
        )
