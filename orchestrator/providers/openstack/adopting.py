"""Whether a machine is ours, or can become ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE
from orchestrator.providers.openstack.images import ARCHITECTURES, Image


def check_adoptable(described: Mapping[str, Any], request: MachineRequest, image: Image | None) -> None:
    """See that a server is nobody else's, and can be what is asked for.

    Args:
        described: As nova describes it.
        request: What it is to become.
        image: What it was made from, if that is known.

    Raises:
        ProviderError: If it cannot.
    """
    machine_id, told = str(described["id"]), described.get("metadata") or {}
    problem = ""
    if told.get(LINEAGE, request.deployment.lineage) != request.deployment.lineage:
        problem = f"{machine_id} belongs to another deployment, {told.get(DEPLOYMENT)}"
    elif told.get(ADDRESS, request.address) != request.address:
        problem = f"{machine_id} is {told.get(ADDRESS)} of this deployment already"
    elif image and image.architecture and image.architecture not in ARCHITECTURES.get(request.architecture, ()):
        problem = f"{machine_id} has {image.architecture} processors and not {request.architecture} ones"
    elif image and image.windows:
        problem = f"{machine_id} runs Windows"
    if problem:
        raise ProviderError(
            "That machine cannot be taken over.",
            detail=f"{problem}; it was to become {request.address} of {request.deployment.name}.",
            resolution="Name another machine.",
        )


def not_ours(machine_id: str) -> ProviderError:
    """Somebody else's machine is to be removed."""
    return ProviderError(
        "That machine is not ours.",
        detail=f"The server {machine_id} carries no tag of this program; it is left alone.",
        resolution="Remove it yourself if it is not needed.",
    )
