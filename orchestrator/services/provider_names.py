"""Which providers, at which places, may hold something of a deployment: what its state tells of them."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.errors import DeployError
from orchestrator.planning.desired_instances import desired_instances
from orchestrator.planning.profile import load_profile
from orchestrator.providers.registry import PROVIDERS, is_cloud, is_provider
from orchestrator.services.manifest import parse_stored_template
from orchestrator.state.model import State
from orchestrator.topology.types import shipped_types


def providers_of(state: State) -> tuple[str, ...]:
    """Whoever may hold something of ours, by name with place (``aws/eu-central-1``).

    What records name; what the templates that were applied ask for, since parts that several machines share are left
    where the last of these has gone; and what the profile may have used before it failed.
    """
    named = {record.provider for record in state.instances.values()}
    applied = [(state.template, state.profile, state.profile_options)]
    applied += [(v.template, v.profile, v.profile_options) for v in state.versions]
    seen: list[tuple[str, str, Mapping[str, str]]] = []
    for each in applied:
        if each not in seen:
            seen.append(each)
            named |= _providers_in(*each)
    try:
        named |= {rule.provider for rule in load_profile(state.profile).rules}
    except DeployError:
        # Which profile it was is not known any longer, so it may have been any; of clouds no place is known then.
        named |= {name for name in PROVIDERS if not is_cloud(name)}
    return tuple(sorted(name for name in named if is_provider(name) and "{" not in name))


def _providers_in(template: str, profile: str, options: Mapping[str, str]) -> set[str]:
    """What a template asks for under a profile; nothing where either cannot be read any longer."""
    if not template:
        return set()
    try:
        if not any("{" in rule.provider for rule in load_profile(profile).rules):
            return set()  # what such a profile may use is said by its rules
        topology = parse_stored_template(template, "")
        wanted, _ = desired_instances(topology, shipped_types(), load_profile(profile), options)
    except DeployError:
        return set()
    return {instance.provider for instance in wanted.values()}
