"""Takes a deployment down and looks for leftovers by tag."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.engine.apply import Outcome, apply_plan, failure_of
from orchestrator.engine.hooks import Hook
from orchestrator.errors import DeployError
from orchestrator.executors.places import provider_with
from orchestrator.planning.plan import Plan
from orchestrator.providers.base import DeploymentTag, Resource
from orchestrator.providers.registry import load_provider
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.provider_names import providers_of
from orchestrator.state.backend import open_backend
from orchestrator.state.folders import deployment_folder
from orchestrator.state.model import State


class LeftoversError(DeployError):
    """Something that carries the deployment's tag is still there."""

    def __init__(self, leftovers: tuple[Resource, ...]) -> None:
        super().__init__(
            "Something was left behind.",
            detail="\n".join(f"{r.kind} {r.name} ({r.id})" for r in leftovers),
            resolution="Run `deploy destroy` again; what it cannot remove has to be removed by hand.",
        )
        self.leftovers = leftovers


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What a destroy did; ``searched`` names the providers that were asked for leftovers and had none."""

    outcome: Outcome
    searched: tuple[str, ...]


def destroy(plan: Plan, opened: OpenDeployment, hook: Hook, parallelism: int) -> Destroyed:
    """Do the plan's removals, then ask every provider for leftovers by tag, then drop state, keys and secrets.

    Raises:
        ApplyFailedError: If something could not be removed; the state keeps it.
        LeftoversError: If a provider still lists something with the deployment's tag.
    """
    state = opened.state
    assert state is not None, "only called with a state"  # noqa: S101
    providers = providers_of(state)
    session = opened.session
    context = opened.context({}, state.application_root)
    try:
        estimates = opened.expected_seconds(plan)
        outcome = apply_plan(plan, context, session, opened.noting(plan, hook), parallelism, estimates=estimates)
    finally:
        session.snapshot()
    failure = failure_of(outcome, opened.cancel.is_set())
    if failure is not None:
        raise failure
    leftovers = _leftovers(opened, state, providers, context.tag)
    if leftovers:
        raise LeftoversError(leftovers)
    drop(opened, providers)
    return Destroyed(outcome, providers)


def drop(opened: OpenDeployment, providers: Iterable[str]) -> None:
    """Drop state, keys and secrets of a deployment that is gone; its runs are kept."""
    for name in providers:
        with contextlib.suppress(DeployError):
            load_provider(name).close()
    opened.session.delete()
    opened.secrets.clear()
    for part in ("ssh", "kubeconfig"):
        shutil.rmtree(opened.folder / part, ignore_errors=True)


def was_destroyed(name: str) -> bool:
    """Whether a deployment of that name was here and has been destroyed: its runs are kept, its state is gone."""
    folder = deployment_folder(name)
    return (folder / "runs").is_dir() and open_backend().state_store(name).load() is None


def _leftovers(
    opened: OpenDeployment, before: State, providers: tuple[str, ...], tag: DeploymentTag
) -> tuple[Resource, ...]:
    found: list[Resource] = []
    for name in providers:
        provider = provider_with(name, before.instances.values(), tag.lineage, opened.secrets, opened.folder)
        provider.release(tag)
        found.extend(provider.leftovers(tag))
    return tuple(found)
