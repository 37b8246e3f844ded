"""Which class serves which provider name; a new provider is one folder and one line here."""

from __future__ import annotations

from importlib import import_module

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Cloud, MachineProvider

PROVIDERS = {
    "aws": "orchestrator.providers.aws.provider:AwsProvider",
    "local": "orchestrator.providers.local.provider:LocalProvider",
    "openstack": "orchestrator.providers.openstack.provider:OpenStackProvider",
    "static": "orchestrator.providers.static.provider:StaticProvider",
}
"""Provider name to ``module:Class``, imported when first asked for.

A provider of many places is asked for with one of them, ``aws/eu-central-1``: region, or host of the cloud's API. The
class gets it as its argument.
"""


class UnknownProviderError(ProviderError):
    """The profile names a provider that this version does not have."""

    exit_code = 2

    def __init__(self, name: str) -> None:
        super().__init__(
            "No such provider.",
            detail=f"The profile asks for provider {name!r}; this version has: {', '.join(sorted(PROVIDERS))}.",
            resolution="Rehearse on local machines with --rehearse, or use a version that has the provider.",
        )


def parallel_limit(name: str) -> int:
    """How many machines the provider makes or removes at the same time at most; nothing is connected to for this."""
    return load_provider(name).max_parallel


def load_provider(name: str) -> MachineProvider:
    """The provider of that name.

    Raises:
        UnknownProviderError: If there is none.
    """
    kind, _, place = name.partition("/")
    if kind not in PROVIDERS:
        raise UnknownProviderError(name)
    module, _, attribute = PROVIDERS[kind].partition(":")
    made = getattr(import_module(module), attribute)
    provider: MachineProvider = made(place) if place else made()
    return provider


def is_provider(name: str) -> bool:
    """Whether this version has the provider; the place in its name (``aws/eu-central-1``) does not matter."""
    return name.partition("/")[0] in PROVIDERS


def has_volumes(name: str) -> bool:
    """Whether the provider makes data volumes; nothing is connected to for this."""
    return bool(getattr(load_provider(name), "has_volumes", False))


def is_cloud(name: str) -> bool:
    """Whether this version has the provider and it orders from somebody else; nothing is connected to for this."""
    return is_provider(name) and isinstance(load_provider(name), Cloud)
