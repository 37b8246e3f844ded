"""The real command line over real containers, each test with a home folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command_line import EXAMPLE, Cli, Engine


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line in an empty folder."""
    return Cli(tmp_path)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A copy of the example, to be changed at will."""
    folder = tmp_path / "application"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def nothing_of_a_killed_run(request: pytest.FixtureRequest) -> None:
    """Remove what a run that was killed could not: the deployment that the tests' module is about (NAME)."""
    Engine().wipe(request.module.NAME)


@pytest.fixture
def engine(request: pytest.FixtureRequest, nothing_of_a_killed_run: None) -> Iterator[Engine]:
    """The engine; whatever a test leaves behind of the deployment that its module is about (NAME) is removed."""
    found = Engine()
    yield found
    found.wipe(request.module.NAME)
