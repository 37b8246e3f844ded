"""The plans that production files lead to, from nothing and from what was applied before. No engine, no state file.

``<case>/plan.txt`` is the plan from nothing; ``changes/<case>/plan.txt`` the plan from the applied ``mask-detection``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.diagnostics import has_errors
from orchestrator.planning.desired_instances import check_profile, desired_instances
from orchestrator.planning.plan import Plan
from orchestrator.planning.planner import Wanted, plan_apply
from orchestrator.planning.profile import load_profile, profile_names
from orchestrator.production.compile import compile_topology
from orchestrator.production.load import load_production
from orchestrator.state.model import InstanceRecord, Lifecycle, State
from orchestrator.topology.types import shipped_types

GOLDEN = Path(__file__).parent
REFUSED = {"cloud-functions"}
"""Cases that every profile refuses so far: they compile, and nothing makes them."""

CASES = sorted(name for path in GOLDEN.glob("*/production.yaml") if (name := path.parent.name) not in REFUSED)
CHANGES = sorted(path.parent.name for path in GOLDEN.glob("changes/*/production.yaml"))
OPTIONS = {"engine_architecture": "amd64"}


def wanted(folder: Path) -> Wanted:
    loaded = load_production(folder / "production.yaml")
    topology, findings = compile_topology(loaded)
    assert not has_errors((*loaded.diagnostics, *findings))
    instances, substitutions = desired_instances(topology, shipped_types(), load_profile("local"), OPTIONS)
    return Wanted("local", instances, substitutions)


def applied(want: Wanted) -> State:
    records = {
        address: InstanceRecord(
            address=address,
            node=instance.node,
            type=instance.type,
            provider=instance.provider,
            lifecycle=Lifecycle.STARTED,
            inputs=instance.inputs,
            dependencies=instance.dependencies,
        )
        for address, instance in want.instances.items()
    }
    return State("mask-detection-rehearsal", "lineage", 7, profile="local", instances=records)


def written(plan: Plan) -> str:
    """One line a change: what, why, what it waits for, and what stops meanwhile; then the substitutions."""
    lines = []
    for change in plan.changes.values():
        after = f"  after {', '.join(change.after)}" if change.after else ""
        stops = f"  stops {change.downtime.text}" if change.downtime.kind != "none" else ""
        lines.append(f"{change.action.value:8}{change.address}: {'; '.join(change.reasons)}{after}{stops}")
    lines += [f"instead of {s.what} for {s.address}: {s.by}, since {s.why}" for s in plan.substitutions]
    return "".join(f"{line}\n" for line in lines)


def compare(plan: Plan, expected: Path, update: bool) -> None:
    if update:
        expected.write_text(written(plan), encoding="utf-8")
    assert written(plan) == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_plan_from_nothing(case: str, update_golden: bool) -> None:
    plan = plan_apply("d", wanted(GOLDEN / case), None, {})
    assert all(change.action == "create" for change in plan.changes.values())
    compare(plan, GOLDEN / case / "plan.txt", update_golden)


@pytest.mark.parametrize("case", CHANGES)
def test_plan_of_a_change(case: str, update_golden: bool) -> None:
    prior = applied(wanted(GOLDEN / "mask-detection"))
    plan = plan_apply("mask-detection-rehearsal", wanted(GOLDEN / "changes" / case), prior, {})
    compare(plan, GOLDEN / "changes" / case / "plan.txt", update_golden)


@pytest.mark.parametrize("case", CASES)
def test_a_plan_after_an_apply_is_all_no_ops(case: str) -> None:
    want = wanted(GOLDEN / case)
    assert plan_apply("mask-detection-rehearsal", want, applied(want), {}).is_empty


@pytest.mark.parametrize("case", sorted(REFUSED))
@pytest.mark.parametrize("profile", profile_names())
def test_what_nothing_makes_is_refused_by_every_profile(case: str, profile: str) -> None:
    topology, _ = compile_topology(load_production(GOLDEN / case / "production.yaml"))
    assert has_errors(check_profile(topology, shipped_types(), load_profile(profile), {}))


def test_comments_and_other_spellings_change_nothing() -> None:
    prior = applied(wanted(GOLDEN / "mask-detection"))
    assert plan_apply("mask-detection-rehearsal", wanted(GOLDEN / "changes" / "reformatted"), prior, {}).is_empty
