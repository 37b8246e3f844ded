"""The manifest of a deployment, from its state alone."""

from __future__ import annotations

from orchestrator.errors import InvalidInputError, UsageError
from orchestrator.manifest.build import build_manifest
from orchestrator.manifest.model import Manifest
from orchestrator.planning.desired_instances import desired_instances
from orchestrator.planning.profile import load_profile
from orchestrator.planning.substitution import Substitution
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.prepare import profile_options
from orchestrator.state.model import State
from orchestrator.topology.model import Topology
from orchestrator.topology.parse import parse_template
from orchestrator.topology.types import shipped_types


def read_manifest(opened: OpenDeployment) -> Manifest:
    """Build it.

    Raises:
        UsageError: If the deployment has not been applied.
    """
    if opened.state is None:
        raise UsageError(
            "There is no manifest.",
            detail=f"{opened.name} has not been applied.",
            resolution="Run `deploy apply` first.",
        )
    return build_manifest(opened.state, read_substitutions(opened.state), opened.folder)


def read_substitutions(state: State) -> tuple[Substitution, ...]:
    """What the profile put in the place of the real thing when the state's template was applied."""
    unavailable = frozenset(
        str(record.inputs.get("properties.image"))
        for record in state.instances.values()
        if record.inputs.get("settings.pass_through") is True
    )
    topology = parse_stored_template(state.template, state.deployment)
    profile = load_profile(state.profile)
    options = profile_options(profile, state.profile_options)
    return desired_instances(topology, shipped_types(), profile, options, unavailable)[1]


def parse_stored_template(text: str, name: str) -> Topology:
    """The topology of a template that was checked when it was stored.

    Raises:
        InvalidInputError: If this version does not read it any longer.
    """
    parsed = parse_template(text, name)
    if parsed.topology is None:
        raise InvalidInputError(parsed.diagnostics)
    return parsed.topology
