"""Image ids as users write them, ``scheme://place/identifier``, and what to say of an image that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest


@dataclass(frozen=True, slots=True)
class ImageIds:
    """The ids of a cloud's images.

    Attributes:
        cloud: Its name.
        form: How they are written, e.g. ``aws://<region>/ami-…``.
        elsewhere: Where an image of another place is, as a sentence ends: ``"in another region"``.
        move: What to do then.
        viewer: Whom the cloud shows images to: ``"account"``.
    """

    cloud: str
    form: str
    elsewhere: str
    move: str
    viewer: str

    def identifier(self, request: MachineRequest, place: str) -> str:
        """The part that the cloud knows of the image that is asked for.

        Args:
            request: The machine.
            place: Where the image has to be; empty if any place will do.

        Raises:
            ProviderError: If it is none of this cloud's, or at another place.
        """
        scheme, _, rest = request.image.partition("://")
        there, _, identifier = rest.partition("/")
        if scheme != self.form.partition("://")[0] or not identifier:
            raise ProviderError(
                f"The image is none of {self.cloud}'s.",
                detail=f"{request.address} is to be made from {request.image or 'no image'!r}.",
                resolution=f"Write it as `{self.form}` (operatingSystemImageId).",
            )
        if place and there != place:
            raise ProviderError(
                f"The image is {self.elsewhere}.",
                detail=f"{request.address} is to be made from {request.image}, but at {place}.",
                resolution=self.move,
            )
        return identifier

    def absent(self, request: MachineRequest, identifier: str, place: str) -> ProviderError:
        """There is no such image at a place."""
        return ProviderError(
            "There is no such image.",
            detail=f"{request.address} is to be made from {identifier}, which {place} does not have, or does not show "
            f"to this {self.viewer}.",
            resolution="Correct operatingSystemImageId, or have its owner share it.",
        )

    @staticmethod
    def check(request: MachineRequest, identifier: str, lacking: Sequence[str]) -> None:
        """See that an image has what is asked for.

        Args:
            request: The machine.
            identifier: The image.
            lacking: Why it will not do, as clauses; empty if it will.

        Raises:
            ProviderError: If it will not do.
        """
        if lacking:
            raise ProviderError(
                "The image will not do.",
                detail=f"{request.address} is to be made from {identifier}: {'; '.join(lacking)}.",
                resolution="Name another image (operatingSystemImageId).",
            )
