"""Which cloud an operating system image, or an account, belongs to."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.production.model import Account, Resource

PUBLIC_CLOUDS = {"aws": "aws", "azr": "azure", "azure": "azure", "gce": "gcp", "gcp": "gcp"}
"""Scheme of an image id to the public cloud that it names."""

PRIVATE_SCHEMES = ("one", "ost", "cst", "vsp")
"""Schemes of clouds that an organisation may run by itself: OpenNebula, OpenStack, CloudStack, vSphere."""

OTHER_SCHEMES = ("appdb", "docker", "ibm", "lin", "ora")
"""Further schemes that the Infrastructure Manager has a meaning for."""

KNOWN_SCHEMES = (*PUBLIC_CLOUDS, *PRIVATE_SCHEMES, *OTHER_SCHEMES)

DEFAULT_FUNCTION_CLOUD = "aws"
"""What cloud functions belong to if nothing names a cloud: the only one whose functions the field's files use."""

_ACCOUNT_CLOUDS = {"lambda": "aws", "azure": "azure", "gce": "gcp"}


def scheme_of(image_id: str) -> str:
    """The scheme of ``scheme://place/identifier``; empty if there is none."""
    head, separator, _ = image_id.partition("://")
    return head.strip().casefold() if separator else ""


def public_cloud(resource: Resource) -> str:
    """The public cloud that a resource's image names; empty if it names none."""
    return PUBLIC_CLOUDS.get(scheme_of(resource.system.image_id), "")


def function_cloud(resource: Resource, accounts: Iterable[Account]) -> str:
    """The cloud whose functions a resource stands for: by its image id, else by the accounts that there are."""
    named = public_cloud(resource)
    if named:
        return named
    types = [account.type.casefold() for account in accounts]
    return next((_ACCOUNT_CLOUDS[t] for t in types if t in _ACCOUNT_CLOUDS), DEFAULT_FUNCTION_CLOUD)
