"""The benchmark measures what it says; its figures themselves are nobody's test."""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.services.load import load_topology


@pytest.fixture(scope="module")
def bench(repository: Path) -> ModuleType:
    """The program as a module."""
    loader = SourceFileLoader("bench", str(repository / "scripts" / "bench"))
    spec = spec_from_loader("bench", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules["bench"] = module  # where its dataclasses look themselves up
    loader.exec_module(module)
    return module


def test_a_chain_compiles_to_one_service_for_each_component(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    loaded = load_topology(bench.write_chain(tmp_path / "chain", 12))
    assert not [finding for finding in loaded.diagnostics if finding.is_error]
    services = [node for node in loaded.topology.nodes.values() if node.type == "continuum.nodes.OscarService"]
    assert len(services) == 12
    assert sum(r.relationship == "continuum.relationships.SendsTo" for s in services for r in s.requirements) == 11


def test_a_run_counts_the_processor_time_and_memory_of_its_own_process(bench: ModuleType) -> None:
    work = "x = bytearray(80_000_000); n = sum(range(4_000_000))"
    heavy, light = (bench.Case(name, (sys.executable, "-c", code)) for name, code in (("heavy", work), ("light", "")))
    for case in (heavy, light):
        case.measure(dict(os.environ))
    assert heavy.best.memory > 80  # of the light one only what this process has itself is known
    assert heavy.best.cpu > light.best.cpu


def test_the_best_of_several_runs_counts(bench: ModuleType) -> None:
    case = bench.Case("short", (sys.executable, "-c", ""), best=bench.Run(0.0, 0.0, 1.0))
    case.measure(dict(os.environ))
    assert case.best == bench.Run(0.0, 0.0, 1.0)


def test_a_command_that_fails_is_no_measurement(bench: ModuleType) -> None:
    case = bench.Case("broken", (sys.executable, "-c", "raise SystemExit('no such luck')"))
    with pytest.raises(RuntimeError, match="no such luck"):
        case.measure(dict(os.environ))


def test_targets_are_met_or_not_by_processor_time(bench: ModuleType, tmp_path: Path) -> None:
    names = bench.build_cases(tmp_path)
    seconds = {"compile 2000 again": 2.9, "compile 400 again": 0.5, "compile 100 again": 0.05, "yardstick 400": 10.0}
    best = {name: bench.Run(99.0, seconds.get(name, 0.12), 50.0) for name in names}
    targets = bench.check_targets(best)
    assert all(target.met for target in targets)
    slow = bench.check_targets({**best, "compile 2000 again": bench.Run(1.0, 3.1, 301.0)})
    assert [t.asked.partition(":")[0] for t in slow if not t.met] == [
        "2,000 components, verdict remembered",
        "2,000 components",
    ]
    assert "NO" in bench.render(best, {name: name for name in best}, slow)


def test_machines_of_clouds_are_held_against_the_bare_sdk(bench: ModuleType) -> None:
    found = {
        "provider": "aws",
        "machines": 100,
        "ratio": 1.31,
        "ratios": [1.0, 1.31, 1.4],
        "calls": {"ours": 101, "bare": 100},
    }
    (target,) = bench.check_clouds([found])
    assert (target.found, target.met) == ("1.31 (1.00 to 1.40), 101 calls", False)
    assert bench.check_clouds([{**found, "ratio": 1.3}])[0].met


def test_a_cloud_whose_servers_are_not_installed_is_left_out_and_said_how_to_get(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMS_VENV", str(tmp_path / "nothing-there"))
    left_out = bench.find_left_out()
    assert set(left_out) == {"openstack"}
    assert "`scripts/bootstrap systems` installs" in left_out["openstack"]
    assert bench.measure_clouds(dict.fromkeys(bench.CLOUDS, "nothing is there")) == []
