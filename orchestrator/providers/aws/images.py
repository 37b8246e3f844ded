"""Images that machines are started from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.flavors import ARCHITECTURES
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.image_ids import ImageIds

IDS = ImageIds(
    cloud="AWS",
    form="aws://<region>/ami-…",
    elsewhere="in another region",
    move="Copy the image there, or name one of that region.",
    viewer="account",
)
"""How users write them."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image.

    Attributes:
        id: ``ami-…``.
        architecture: As AWS calls it.
        state: ``available`` if it can be used.
        root_device: Name of the disk that it boots from.
        root_gb: Size of that.
        uefi: Whether it boots in the way that secure boot needs.
        tpm: Whether it measures what it boots.
        windows: Whether it is another system than machines need.
        devices: Names of all disks that it brings.
    """

    id: str
    architecture: str
    state: str
    root_device: str
    root_gb: int
    uefi: bool
    tpm: bool
    windows: bool
    devices: frozenset[str] = frozenset()


def parse_image(described: Mapping[str, Any]) -> Image:
    """An image from EC2's description."""
    root = str(described.get("RootDeviceName") or "/dev/sda1")
    disks = [d for d in described.get("BlockDeviceMappings", []) if d.get("DeviceName") == root]
    return Image(
        id=str(described["ImageId"]),
        architecture=str(described.get("Architecture", "")),
        state=str(described.get("State", "")),
        root_device=root,
        root_gb=max((int(d.get("Ebs", {}).get("VolumeSize", 0) or 0) for d in disks), default=0),
        uefi=str(described.get("BootMode", "")) in {"uefi", "uefi-preferred"},
        tpm=str(described.get("TpmSupport", "")) == "v2.0",
        windows=str(described.get("Platform", "")).lower() == "windows",
        devices=frozenset(str(d.get("DeviceName", "")) for d in described.get("BlockDeviceMappings", [])),
    )


def lacks(image: Image, request: MachineRequest) -> list[str]:
    """Why an image will not do, as clauses; empty if it will."""
    wanted = ARCHITECTURES.get(request.architecture, request.architecture)
    checks = (
        (image.state == "available", f"it is {image.state or 'not available'}"),
        (image.architecture == wanted, f"it is for {image.architecture} processors and not {wanted}"),
        (not image.windows, "it is a Windows"),
        (not request.secure_boot or image.uefi, "it does not boot by UEFI, which secure boot needs"),
        (not request.measured_boot or (image.uefi and image.tpm), "it has no TPM support, which measured boot needs"),
    )
    return [why for right, why in checks if not right]


class Images:
    """Images of a region, each asked for once. Safe to use from several threads.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = Lock()
        self._known: dict[str, Image] = {}

    def describe(self, ids: Iterable[str]) -> dict[str, Image]:
        """Images by identifier; those that are not there are left out."""
        wanted = list(dict.fromkeys(ids))
        with self._lock:
            missing = [one for one in wanted if one not in self._known]
            if missing:
                filters = [{"Name": "image-id", "Values": missing}]
                doing = f"looking for the image {', '.join(missing)}"
                for found in self._api.list("describe_images", "Images", doing, Filters=filters):
                    image = parse_image(found)
                    self._known[image.id] = image
            return {one: self._known[one] for one in wanted if one in self._known}

    def of(self, request: MachineRequest) -> Image:
        """The image of a machine.

        Raises:
            ProviderError: If it is not there, or will not do.
        """
        identifier = IDS.identifier(request, self._api.region)
        image = self.describe([identifier]).get(identifier)
        if image is None:
            raise IDS.absent(request, identifier, self._api.region)
        IDS.check(request, identifier, lacks(image, request))
        return image
