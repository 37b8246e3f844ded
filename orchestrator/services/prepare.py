"""From a file to a plan: load, compile, check, apply the profile, look at what is there, plan. Changes nothing."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from orchestrator.diagnostics import Diagnostic, has_errors
from orchestrator.engine.refresh import refresh
from orchestrator.errors import InvalidInputError, UsageError
from orchestrator.images.registry import image_available
from orchestrator.planning.desired_instances import check_profile, desired_instances, images_without_source
from orchestrator.planning.observation import Observation
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import Wanted, plan_apply, plan_refresh
from orchestrator.planning.profile import Profile, load_profile
from orchestrator.planning.secret_versions import with_secret_versions
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.load import LoadedTopology
from orchestrator.topology.model import Topology
from orchestrator.topology.types import TypeCatalogue, shipped_types

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be applied, and under which profile.

    Attributes:
        loaded: The topology and where it came from.
        profile: Name of the profile.
        options: The profile's options as given by the user, e.g. ``{"k3s": "standin"}``.
    """

    loaded: LoadedTopology
    profile: str
    options: Mapping[str, str]

    @property
    def deployment(self) -> str:
        """Name of the deployment: the topology's, with the profile's suffix."""
        return self.loaded.topology.name + load_profile(self.profile).name_suffix


def host_architecture() -> str:
    """This machine's architecture in the words of container platforms: ``amd64`` or ``arm64``."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def profile_options(profile: Profile, given: Mapping[str, str]) -> dict[str, str]:
    """The options of a profile: what the user gave, and what this machine is, where the profile asks for it."""
    own = {"engine_architecture": host_architecture()}
    return {**{name: value for name, value in own.items() if name in profile.options}, **given}


def want(target: Target) -> tuple[Wanted, tuple[Diagnostic, ...]]:
    """What is wanted under the profile, with the findings that only the profile gives.

    Raises:
        InvalidInputError: If the profile cannot carry the topology.
    """
    profile = load_profile(target.profile)
    topology = target.loaded.topology
    catalogue = shipped_types()
    options = profile_options(profile, target.options)
    findings = check_profile(topology, catalogue, profile, options, target.loaded.places)
    if has_errors(findings):
        raise InvalidInputError(findings)
    unavailable = _unavailable_images(topology, catalogue) if profile.rehearsal else frozenset()
    instances, substitutions = desired_instances(topology, catalogue, profile, options, unavailable)
    return Wanted(target.profile, instances, substitutions), tuple(findings)


def _unavailable_images(topology: Topology, catalogue: TypeCatalogue) -> frozenset[str]:
    """References of images that have no sources beside the file and cannot be had within 5 s either."""
    references = sorted(set(images_without_source(topology, catalogue).values()))
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(image_available, references))
    return frozenset(r for r, available in zip(references, answers, strict=True) if not available)


def prepare(
    target: Target,
    opened: OpenDeployment,
    wanted: Wanted,
    replace: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Plan:
    """Look at what is there and plan.

    Args:
        target: What is to be applied.
        opened: The deployment.
        wanted: The same under its profile.
        replace: What to make anew although nothing asks for it.
        targets: What to narrow the plan down to; everything if empty.

    Raises:
        NoSuchTargetError: If nothing is called like something in ``replace`` or ``targets``.
    """
    wanted = replace_fields(wanted, instances=with_secret_versions(wanted.instances, opened.secrets.versions()))
    observed = look(opened, wanted, target.loaded.application_root)
    return plan_apply(opened.name, wanted, opened.state, observed, replace, targets)


def prepare_refresh(target: Target, opened: OpenDeployment, wanted: Wanted) -> Plan:
    """Look at what is there and plan to take that over into the state.

    Raises:
        UsageError: If nothing was applied yet.
    """
    if opened.state is None:
        raise UsageError(
            "There is nothing to refresh.",
            detail=f"{opened.name} has not been applied, so that its state holds nothing that could have changed.",
            resolution="Run `deploy apply` first.",
        )
    observed = look(opened, wanted, target.loaded.application_root)
    return replace_fields(plan_refresh(opened.state, observed), substitutions=wanted.substitutions)


def look(opened: OpenDeployment, wanted: Wanted | None, application_root: Path) -> dict[str, Observation]:
    """Observe everything that the state knows, at once."""
    if opened.state is None:
        return {}
    context = opened.context(wanted.instances if wanted else {}, str(application_root))
    return refresh(context, opened.state.instances)
