"""The scenarios of `playbooks/molecule` on simulated Raspberry Pis: converge, again without a change, verify."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.standin_files import standin_path
from tests.plays_by_hand import PLAYBOOKS, environment
from tests.simulated_boards import simulated_boards

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STAND_IN = standin_path("k3s_standin")
SCENARIOS = sorted(path.parent.name for path in (PLAYBOOKS / "molecule").glob("*/molecule.yml"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    binary = tmp_path / "k3s"
    shutil.copy(STAND_IN, binary)
    with simulated_boards(tmp_path, 2, variables={"k3s_binary_file": str(binary)}) as boards:
        done = subprocess.run(
            [programs / "molecule", "test", "--scenario-name", scenario],
            cwd=PLAYBOOKS,
            env={
                **environment(),
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                # Molecule writes its inventory and settings below this folder, not into the checkout.
                "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
                "XDG_CACHE_HOME": str(tmp_path / "cache"),
                "NO_COLOR": "1",
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "BOARDS_INVENTORY": str(boards.inventory),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert f"[{scenario} > idempotence] Executed: Successful" in done.stdout, done.stdout
    assert not (PLAYBOOKS / ".ansible").exists()
