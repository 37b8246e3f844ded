"""Whether a machine is ours, can become ours, or is there at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.flavors import ARCHITECTURES
from orchestrator.providers.aws.tags import tags_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE


def check_adoptable(described: Mapping[str, Any], request: MachineRequest) -> None:
    """See that an instance is nobody else's, and can be what is asked for.

    Raises:
        ProviderError: If it cannot.
    """
    machine_id, tags = str(described["InstanceId"]), tags_of(described)
    problem = ""
    if tags.get(LINEAGE, request.deployment.lineage) != request.deployment.lineage:
        problem = f"{machine_id} belongs to another deployment, {tags.get(DEPLOYMENT)}"
    elif tags.get(ADDRESS, request.address) != request.address:
        problem = f"{machine_id} is {tags.get(ADDRESS)} of this deployment already"
    elif described.get("Architecture") != ARCHITECTURES.get(request.architecture):
        problem = f"{machine_id} has {described.get('Architecture')} processors and not {request.architecture} ones"
    elif str(described.get("Platform", "")).lower() == "windows":
        problem = f"{machine_id} runs Windows"
    if problem:
        raise ProviderError(
            "That machine cannot be taken over.",
            detail=f"{problem}; it was to become {request.address} of {request.deployment.name}.",
            resolution="Name another machine.",
        )


def gone(machine_id: str) -> ProviderError:
    """A machine is not there any longer."""
    return ProviderError(
        "The machine is gone.",
        detail=f"AWS has no instance {machine_id} any longer.",
        resolution="Apply again: it makes the machine anew.",
    )


def not_ours(machine_id: str) -> ProviderError:
    """A machine carries no tag of ours."""
    return ProviderError(
        "That machine is not ours.",
        detail=f"The instance {machine_id} carries no tag of this program; it is left alone.",
        resolution="Remove it yourself if it is not needed.",
    )
