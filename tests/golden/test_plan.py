"""The plans that production files lead to, from nothing and from what was applied before. No engine, no state file.

``<case>/plan.txt`` is the plan from nothing; ``changes/<case>/plan.txt`` the plan from the applied ``mask-detection``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.diagnostics import has_errors
from orchestrator.planning.actions import REMOVALS, Action
from orchestrator.planning.desired_instances import check_profile, desired_instances
from orchestrator.planning.plan import Change, Plan
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


@pytest.mark.parametrize("case", ["reformatted", "respelled"])
def test_comments_and_other_spellings_change_nothing(case: str) -> None:
    prior = applied(wanted(GOLDEN / "mask-detection"))
    assert plan_apply("mask-detection-rehearsal", wanted(GOLDEN / "changes" / case), prior, {}).is_empty


@pytest.mark.parametrize("case", CASES)
def test_keys_and_edges_in_another_order_change_nothing(case: str, tmp_path: Path) -> None:
    for path in (GOLDEN / case).rglob("*.yaml"):
        copy = tmp_path / path.relative_to(GOLDEN / case)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = backwards(yaml.safe_load(path.read_text(encoding="utf-8")))
        if path.name == "application_dag.yaml":
            system = content.get("System", content)
            system["dependencies"].reverse()
            system["components"].reverse()
        copy.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    plan = plan_apply("mask-detection-rehearsal", wanted(tmp_path), applied(wanted(GOLDEN / case)), {})
    assert plan.is_empty, [c.reasons for c in plan.changes.values() if not c.is_noop]


def backwards(value: Any) -> Any:
    """The same with the keys of every mapping in reverse."""
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


SIX_KINDS = (
    "split-same-layer",
    "split-new-layer",
    "swapped-layers",
    "split-renamed-successor",
    "both-replaced",
    "gathered-on-one-layer",
)


@pytest.mark.parametrize("case", SIX_KINDS)
def test_a_reconfiguration_keeps_clusters_and_makes_the_new_before_it_removes_the_old(case: str) -> None:
    prior = applied(wanted(GOLDEN / "mask-detection"))
    plan = plan_apply("mask-detection-rehearsal", wanted(GOLDEN / "changes" / case), prior, {})
    changes = plan.changes
    staying = [c for a, c in changes.items() if a in prior.instances and c.instance.type.endswith(("Oscar", "Cluster"))]
    assert all(c.is_noop for c in staying if c.action not in REMOVALS)
    assert not any(c.action is Action.REPLACE for c in changes.values()), "nothing is taken away before it is replaced"
    making = [c for c in changes.values() if c.action in (Action.CREATE, Action.MOVE) and is_service(c)]
    for removal in (c for c in changes.values() if c.action in REMOVALS and is_service(c)):
        awaited = closure(plan, removal.address)
        assert {c.address for c in making} <= awaited, f"{removal.address} goes before what takes its place"
    assert all(c.downtime.kind in ("none", "restart") for c in changes.values())


def test_a_swap_moves_both_components_and_names_the_layers() -> None:
    prior = applied(wanted(GOLDEN / "mask-detection"))
    plan = plan_apply("mask-detection-rehearsal", wanted(GOLDEN / "changes" / "swapped-layers"), prior, {})
    titles = {c.title for c in plan.changes.values() if c.action is Action.MOVE}
    assert titles == {"blurry-faces: layer 1 → layer 2", "mask-detector: layer 2 → layer 1"}
    assert plan.counts()[Action.MOVE] == 2
    assert Action.DELETE not in plan.counts(), "the removal of what is moved away from is a part of the move"


def is_service(change: Change) -> bool:
    return change.address.startswith("service-")


def closure(plan: Plan, address: str) -> set[str]:
    """All that must have succeeded before a change begins."""
    found: set[str] = set()
    waiting = list(plan.changes[address].after)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(plan.changes[one].after)
    return found
