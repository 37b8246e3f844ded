"""Whose a machine is, or a part that machines share, and what to say of one that is not what it has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, DEPLOYMENT, LINEAGE


def the_only(found: Sequence[dict[str, Any]], key: str, what: str) -> dict[str, Any] | None:
    """The one that carries our tags; ``None`` if there is none.

    Args:
        found: All that carry them, as the cloud describes them.
        key: Name of their identifier.
        what: What it is, e.g. ``"network of shop"``.

    Raises:
        ProviderError: If there are several.
    """
    if len(found) > 1:
        raise two_of_them(what, [str(one[key]) for one in found])
    return found[0] if found else None


def made_before(machines: Mapping[str, str], request: MachineRequest) -> str:
    """Identifier of the machine that the same request has made already; empty if there is none.

    Args:
        machines: Token of each machine of the request's deployment and address that is there, by identifier.
        request: What is asked for.

    Raises:
        ProviderError: If there are several, or one of another generation.
    """
    if len(machines) > 1:
        raise two_of_them(_machine_in_words(request), list(machines))
    for machine_id, token in machines.items():
        if token != request.token:
            raise in_the_way(request, machine_id)
        return machine_id
    return ""


def check_adoptable(
    machine_id: str, tags: Mapping[str, str], request: MachineRequest, *, unfit: str = "", others: Sequence[str] = ()
) -> None:
    """See that a machine that was made by hand is nobody else's, and can be what is asked for.

    Args:
        machine_id: The machine.
        tags: What it carries.
        request: What it is to become.
        unfit: Why it cannot be that, as the end of a sentence that begins with the machine; empty if it can.
        others: Identifiers of the machines that are made for that address.

    Raises:
        ProviderError: If it is not so.
    """
    problem = unfit
    if tags.get(LINEAGE, request.deployment.lineage) != request.deployment.lineage:
        problem = f"belongs to another deployment, {tags.get(DEPLOYMENT)}"
    elif tags.get(ADDRESS, request.address) != request.address:
        problem = f"is {tags.get(ADDRESS)} of this deployment already"
    if problem:
        raise ProviderError(
            "That machine cannot be taken over.",
            detail=f"{machine_id} {problem}; it was to become {request.address} of {request.deployment.name}.",
            resolution="Name another machine.",
        )
    if other := next((one for one in others if one != machine_id), ""):
        raise two_of_them(_machine_in_words(request), [other, machine_id])


class MachineGoneError(ProviderError):
    """A machine is not there."""


def gone(cloud: str, kind: str, machine_id: str) -> MachineGoneError:
    """A machine is not there any longer."""
    return MachineGoneError(
        "The machine is gone.",
        detail=f"{cloud} has no {kind} {machine_id} any longer.",
        resolution="Apply again: it makes the machine anew.",
    )


def not_ours(kind: str, name: str) -> ProviderError:
    """A machine that is to be removed carries no tag of ours."""
    return ProviderError(
        "That machine is not ours.",
        detail=f"The {kind} {name} carries no tag of this program; it is left alone.",
        resolution="Remove it yourself if it is not needed.",
    )


def name_taken(cloud: str, kind: str, name: str) -> ProviderError:
    """Something has our name and is not ours."""
    return ProviderError(
        "A name of ours is taken.",
        detail=f"{cloud} has a {kind} {name} that does not carry the tags of this deployment; it is left alone.",
        resolution="Remove or rename it if nobody needs it, or rename the deployment.",
    )


def two_of_them(what: str, ids: Sequence[str]) -> ProviderError:
    """Several things carry the same tags."""
    return ProviderError(
        "Two things claim to be the same.",
        detail=f"Each of these carries the tags of the {what}: {', '.join(ids)}.",
        resolution="Find out which one is right and remove the other, or destroy the deployment.",
    )


def in_the_way(request: MachineRequest, predecessor: str) -> ProviderError:
    """A machine of another generation is there."""
    return ProviderError(
        "An earlier machine is still there.",
        detail=f"{request.address} is to be made anew, but its predecessor {predecessor} exists.",
        resolution="Delete the predecessor first; `apply` does so by itself when it knows of it.",
    )


def _machine_in_words(request: MachineRequest) -> str:
    return f"machine {request.address} of {request.deployment.name}"
