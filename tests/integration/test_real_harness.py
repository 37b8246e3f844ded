"""`make test-real` itself, with the stand-in as the binary: that its steps work, not what they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.standin_files import standin_path
from tests.plays_by_hand import REPOSITORY
from tests.simulated_boards import simulated_boards

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    file = tmp_path / "k3s"
    shutil.copy(standin_path("k3s_standin"), file)
    return file


def call(results: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"K3S_BINARY", "INVENTORY", "KEEP"}}
    return subprocess.run(
        [REPOSITORY / "scripts" / "test-real"],
        env={**environment, **settings, "RESULTS": str(results)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )


def test_it_goes_all_the_way_with_a_binary_alone(binary: Path, tmp_path: Path) -> None:
    done = call(tmp_path / "results", K3S_BINARY=str(binary))
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout, done.stdout


def test_it_goes_all_the_way_over_an_inventory_and_refuses_boards_that_are_in_use(binary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "boards"
    folder.mkdir()
    with simulated_boards(folder, 1) as boards:
        settings = {"INVENTORY": str(boards.inventory), "K3S_BINARY": str(binary)}
        kept = call(tmp_path / "results", KEEP="1", **settings)
        assert kept.returncode == 0, kept.stdout
        assert "4 passed, 1 skipped" in kept.stdout, kept.stdout
        refused = call(tmp_path / "results", **settings)
        assert refused.returncode == 1, refused.stdout
        assert "pi-0 has a K3s already" in refused.stdout, refused.stdout
        assert "1 failed" in refused.stdout, refused.stdout
