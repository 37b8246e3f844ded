"""Which class serves which provider name; a new provider is one folder and one line here."""

from __future__ import annotations

from importlib import import_module

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineProvider

PROVIDERS = {
    "local": "orchestrator.providers.local.provider:LocalProvider",
    "static": "orchestrator.providers.static.provider:StaticProvider",
}
"""Provider name to ``module:Class``, imported when first asked for."""


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
    if name not in PROVIDERS:
        raise UnknownProviderError(name)
    module, _, attribute = PROVIDERS[name].partition(":")
    provider: MachineProvider = getattr(import_module(module), attribute)()
    return provider
