"""The measuring of applies measures what it says; its figures themselves are nobody's test."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.engine.schedule import Schedule
from orchestrator.planning.planner import plan_apply


@pytest.fixture(scope="module")
def bench_apply(repository: Path) -> ModuleType:
    """The program as a module."""
    spec = spec_from_file_location("bench_apply", repository / "scripts" / "bench_apply.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["bench_apply"] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("nodes", [50, 200, 1000])
def test_the_deployment_has_as_many_nodes_as_asked_for_and_reasons_to_wait(bench_apply: ModuleType, nodes: int) -> None:
    wanted, seconds = bench_apply.build_deployment(nodes)
    assert len(wanted.instances) == len(seconds) == nodes
    plan = plan_apply("bench", wanted, None, {})
    assert Schedule(plan.changes, 32, estimates=seconds).critical_path > 1.5 * max(seconds.values())
    assert bench_apply.build_deployment(nodes)[1] == seconds, "two runs measure the same"


def test_every_figure_of_a_small_apply_is_there(bench_apply: ModuleType, tmp_path: Path) -> None:
    cost = bench_apply.measure_cost(tmp_path, 60)
    assert cost.nodes == 60
    assert all(getattr(cost, figure) > 0 for figure in bench_apply.FIGURES)
    assert cost.journal_ms <= cost.apply_ms
    makespan = bench_apply.Makespan(60, 32, 11.0, 10.0, 4.0)
    assert makespan.ratio == pytest.approx(1.1)
    assert "ratio 1.100" in bench_apply.render(makespan, (cost,))
