"""Provides the image of a component and an archive of it, for machines that no registry reaches."""

from __future__ import annotations

from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.planning.observation import Observation, Presence


class ImageExecutor:
    """Builds, pulls and removes component images; what needs the engine's library is imported when it is needed."""

    max_parallel = 4

    def run(self, request: OperationRequest) -> OperationResult:
        """Have the image and its archive, or remove both once no deployment uses them."""
        from orchestrator.executors.image_on_engine import let_go_of_image, make_image  # noqa: PLC0415 - takes long

        return let_go_of_image(request) if request.operation == "delete" else make_image(request)

    def observe(self, request: OperationRequest) -> Observation:
        """Look whether the image is there; its archive is made again when a play needs it."""
        reference = request.record.attributes.get("reference")
        if not isinstance(reference, str):
            return Observation(Presence.UNKNOWN, "the image was not made yet")
        from orchestrator.executors.image_on_engine import look_for_image  # noqa: PLC0415 - the same

        return look_for_image(request, reference)


def restore_archives(request: OperationRequest) -> None:
    """Have the archives of the images that an instance requires: they may have been made in another working folder.

    Raises:
        OperationError: If the container engine has such an image no longer.
    """
    for record in request.requirement_targets("image"):
        archive = record.attributes.get("archive")
        if isinstance(archive, str) and not (request.folders.cache / archive).is_file():
            from orchestrator.executors.image_on_engine import restore_archive  # noqa: PLC0415 - takes long

            restore_archive(request, record)
