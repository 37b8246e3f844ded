"""`make test-real` says what it wants before it does anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def call(repository: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [repository / "scripts" / "test-real"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_anything_to_test_with_it_says_what_to_set(repository: Path) -> None:
    done = call(repository)
    assert done.returncode == 2
    assert done.stdout == ""
    for word in ("K3S_BINARY=FILE", "INVENTORY=FILE", "make test-real INVENTORY=", "docs/real-boards.md"):
        assert word in done.stderr


@pytest.mark.parametrize("name", ["K3S_BINARY", "INVENTORY"])
def test_a_file_that_is_not_there_is_named(name: str, repository: Path) -> None:
    done = call(repository, **{name: "/nonexistent/k3s"})
    assert done.returncode == 2
    assert done.stderr == f"test-real: {name} names /nonexistent/k3s, which is no file.\n"


def test_the_tests_of_real_things_are_skipped_when_nothing_is_set(repository: Path) -> None:
    """So that a bare `pytest` harms nobody's boards."""
    environment = {name: value for name, value in os.environ.items() if name not in {"K3S_BINARY", "INVENTORY"}}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/real"],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "5 skipped" in done.stdout
