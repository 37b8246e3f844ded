"""Applies a plan: preflight, state, walk, snapshot, manifest."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.engine.apply import Outcome, apply_plan, failure_of
from orchestrator.engine.hooks import Hook
from orchestrator.errors import ApplyFailedError, InvalidInputError
from orchestrator.manifest.build import build_manifest
from orchestrator.manifest.model import Manifest
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.plan import Plan
from orchestrator.planning.plan_file import SavedPlan, check_not_stale
from orchestrator.planning.records import instance_of_record
from orchestrator.providers.registry import is_provider, load_provider
from orchestrator.services.deployment import OpenDeployment
from orchestrator.services.preflight import check_plan
from orchestrator.services.secrets import versions_in_use
from orchestrator.state.former import is_former


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply came to.

    Attributes:
        outcome: What was done, what failed and what was left out.
        manifest: What there is now.
        failure: What failed, or what has to be done without; to be raised once the rest is shown.
    """

    outcome: Outcome
    manifest: Manifest
    failure: ApplyFailedError | None = None


def open_providers(providers: set[str]) -> None:
    """Make sure that the APIs can be used, before looking at what is there and before changing it."""
    for name in sorted(filter(is_provider, providers)):
        load_provider(name).open()


def note_complete(saved: SavedPlan, opened: OpenDeployment) -> None:
    """After a plan that asked for nothing: what is applied is complete, so that a rollback may return to it.

    An earlier version of this program, or an apply that failed and was mended since, has not said so.
    """
    state = opened.state
    if (
        state is None
        or saved.plan.is_partial
        or (state.template, state.profile) != (saved.template, saved.plan.profile)
    ):
        return
    if not any(state.is_at(version) for version in state.versions):
        opened.session.keep_version(opened.run)
        opened.session.snapshot()


def apply_saved(saved: SavedPlan, opened: OpenDeployment, hook: Hook, parallelism: int) -> Applied:
    """Do what the plan says; changes that failed are told by what is returned, and all that worked is in the state.

    Args:
        saved: The plan, and what it was made from.
        opened: The deployment, locked.
        hook: Listener for progress.
        parallelism: Bound on changes at the same time.

    Raises:
        StalePlanError: If the state is not the one the plan was made from.
        InvalidInputError: If something that the plan needs is not there.
        CancelledError: If the operator stopped it.
    """
    plan = saved.plan
    check_not_stale(plan, opened.state)
    findings = check_plan(plan, opened.secrets)
    if findings:
        raise InvalidInputError(findings)
    open_providers({change.instance.provider for change in plan.changes.values()})
    session = opened.session
    if not plan.refresh_only:
        session.set_template(saved.template, plan.profile, saved.profile_options, saved.application_root)
    context = opened.context(_desired(plan, opened), saved.application_root)
    try:
        estimates = opened.expected_seconds(plan)
        outcome = apply_plan(plan, context, session, opened.noting(plan, hook), parallelism, estimates=estimates)
        if outcome.is_complete and not plan.is_partial:
            session.keep_version(opened.run)
    finally:
        session.snapshot()
    failure = failure_of(outcome, opened.cancel.is_set())
    failed = failure if isinstance(failure, ApplyFailedError) else None
    if failure is not None and failed is None:
        raise failure
    if not outcome.failed:
        opened.secrets.forget_old(versions_in_use(session.state))
    return Applied(outcome, build_manifest(session.state, plan.substitutions, opened.folder), failed)


def _desired(plan: Plan, opened: OpenDeployment) -> dict[str, DesiredInstance]:
    """All that is wanted while the plan is done: what it leaves out stays as it is."""
    desired = {a: c.instance for a, c in plan.changes.items() if c.action not in (Action.DELETE, Action.FORGET)}
    if plan.is_partial and opened.state is not None:
        for address, record in opened.state.instances.items():
            if address not in plan.changes and not is_former(address):
                desired[address] = instance_of_record(record)
    return desired
