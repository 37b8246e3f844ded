"""`make test-real` itself, with the stand-in as the binary: that its steps work, not what they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_it_goes_all_the_way_with_a_binary_alone(repository: Path, tmp_path: Path) -> None:
    binary = tmp_path / "k3s"
    shutil.copy(repository / "orchestrator" / "standins" / "k3s_standin.py", binary)
    environment = {name: value for name, value in os.environ.items() if name not in {"INVENTORY", "KEEP"}}
    done = subprocess.run(
        [repository / "scripts" / "test-real"],
        env={**environment, "K3S_BINARY": str(binary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout, done.stdout
