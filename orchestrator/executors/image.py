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
        """Look whether image and archive are there."""
        reference, archive = request.record.attributes.get("reference"), request.record.attributes.get("archive")
        if not isinstance(reference, str) or not isinstance(archive, str):
            return Observation(Presence.UNKNOWN, "the image was not made yet")
        if not (request.folders.cache / archive).is_file():
            return Observation(Presence.MISSING, f"the archive of {reference} is gone")
        from orchestrator.executors.image_on_engine import look_for_image  # noqa: PLC0415 - the same

        return look_for_image(request, reference)
