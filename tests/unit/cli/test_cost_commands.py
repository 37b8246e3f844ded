"""`plan` and `compile` tell the cost of what they plan and compile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import main

CASE = Path(__file__).parents[2] / "golden" / "several-domains" / "production.yaml"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_plan_shows_the_cost_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(CASE)]) == 0
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines() if line.lstrip().startswith("total")] == [
        ["total", "0.85", "620.5"]
    ]
    assert "Not counted, since the file gives no cost: VM." in shown
    assert main(["plan", "--json", str(CASE)]) == 0
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert (cost["hourly"], cost["monthly"], cost["change_hourly"]) == (0.85, 620.5, None)
    assert [(part["layer"], part["hourly"]) for part in cost["layers"]] == [(1, 0.1), (2, 0.75)]


def test_compile_shows_the_cost_beside_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(CASE), "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "620.5" in captured.err
    assert all(Path(line).exists() for line in captured.out.splitlines())
    template = captured.out.splitlines()[0]
    assert main(["plan", "--json", template]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["monthly"] == 620.5
