"""Saved plans: what is written is read back, and a stale or damaged one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import StalePlanError
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.downtime import Downtime, DowntimeKind
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.plan_file import (
    PlanFileError,
    SavedPlan,
    check_not_stale,
    is_saved_plan,
    load_saved_plan,
    render_saved_plan,
)
from orchestrator.planning.substitution import Substitution
from orchestrator.state.model import State

INSTANCE = DesiredInstance(
    address="edge[0]",
    node="edge",
    type="continuum.nodes.Machine",
    properties={"a": [1, {"b": None}]},
    requirements={"host": ("x",)},
    operations={"create": Operation("create", "t", "f", {"token": "secret:t"})},
)
MOVE = Change(
    "edge[0]",
    INSTANCE.type,
    Action.MOVE,
    ("a: layer 1 → layer 2",),
    INSTANCE,
    ("x",),
    Downtime(DowntimeKind.RESTART, "restart of x"),
    "a: layer 1 → layer 2",
    "edge[0]@1",
)
REFRESH = Change(
    "b",
    INSTANCE.type,
    Action.REFRESH,
    ("'a': 2 → 1",),
    INSTANCE,
    observed=Observation(Presence.DEGRADED, "odd", {"a": 1}, (Difference("b", 1, None),)),
)
SAVED = SavedPlan(
    Plan(
        "demo",
        "lineage",
        7,
        "local",
        {"edge[0]": MOVE, "b": REFRESH},
        (Substitution("edge", "a board", "a container", "there is none"),),
        ("a",),
        refresh_only=True,
    ),
    "template: text\n",
    {"k3s": "standin"},
    "somewhere",
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(render_saved_plan(SAVED), encoding="utf-8")
    assert is_saved_plan(path)
    assert load_saved_plan(path) == SAVED


def test_other_files_are_no_plans(tmp_path: Path) -> None:
    path = tmp_path / "production.yaml"
    path.write_text("System: {}\n", encoding="utf-8")
    assert not is_saved_plan(path)


def test_a_plan_of_an_earlier_version_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads(render_saved_plan(SAVED)) | {"format_version": 1}), encoding="utf-8")
    with pytest.raises(PlanFileError, match=r"plan\.json has format version 1; this program reads 2") as caught:
        load_saved_plan(path)
    assert "deploy plan --out" in caught.value.resolution


@pytest.mark.parametrize("damage", ["", "{", '{"format_version": 2}', '{"format_version": 99}', "[1]"])
def test_a_damaged_or_foreign_file_is_refused_and_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(damage, encoding="utf-8")
    with pytest.raises(PlanFileError, match=r"plan\.json"):
        load_saved_plan(path)


def test_a_change_without_its_parts_is_refused(tmp_path: Path) -> None:
    content = json.loads(render_saved_plan(SAVED))
    del content["changes"][0]["instance"]["node"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PlanFileError):
        load_saved_plan(path)


def test_a_plan_is_stale_once_the_state_moved_on() -> None:
    check_not_stale(SAVED.plan, State("demo", "lineage", 7))
    for state in (State("demo", "lineage", 8), State("demo", "another", 7), None):
        with pytest.raises(StalePlanError):
            check_not_stale(SAVED.plan, state)
