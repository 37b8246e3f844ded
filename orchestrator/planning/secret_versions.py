"""Tells every wanted instance which versions of secrets it has, so that a rotated one makes it dirty. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import CONNECTS_TO, HOST
from orchestrator.state.secrets import referenced_secrets


def with_secret_versions(
    instances: Mapping[str, DesiredInstance], versions: Mapping[str, int]
) -> dict[str, DesiredInstance]:
    """The instances, each with the versions of its own secrets, its host's, and those of hosts its results go to.

    What is registered with a platform, or delivers to its store, holds that platform's passwords as well.

    Args:
        instances: Wanted instances by address.
        versions: Secrets that were rotated: name to newest version.
    """
    if not versions:
        return dict(instances)
    own = {address: _own(instance) for address, instance in instances.items()}
    found: dict[str, DesiredInstance] = {}
    for address, instance in instances.items():
        names = dict.fromkeys(name for a in (address, *_platforms(instance, instances)) for name in own.get(a, ()))
        held = {name: versions[name] for name in names if name in versions}
        found[address] = replace(instance, secret_versions=held) if held else instance
    return found


def _own(instance: DesiredInstance) -> tuple[str, ...]:
    inputs = [operation.inputs for operation in instance.operations.values()]
    return referenced_secrets([instance.properties, instance.settings, *inputs])


def _platforms(instance: DesiredInstance, instances: Mapping[str, DesiredInstance]) -> tuple[str, ...]:
    following = [instances[a] for a in instance.requirements.get(CONNECTS_TO, ()) if a in instances]
    return tuple(host for i in (instance, *following) for host in i.requirements.get(HOST, ()))
