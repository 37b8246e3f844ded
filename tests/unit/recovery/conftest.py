"""The command line over a pretend continuum."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.executors import registry as executors
from orchestrator.providers import registry as providers
from tests.unit.recovery.pretend import ARTIFACTS, MODULE, World

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
Deploy = Callable[..., str]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty world, which all executors and providers work on."""
    for name in ARTIFACTS:
        monkeypatch.setitem(executors.EXECUTORS, f"continuum.artifacts.{name}", f"{MODULE}:PretendExecutor")
    monkeypatch.setitem(providers.PROVIDERS, "local", f"{MODULE}:PretendProvider")
    World.current = World()
    yield World.current
    del World.current


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The production file of a copy of the example; the working folder is empty."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / ".deploy"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "application"
    shutil.copytree(REPOSITORY / "examples" / "mask-detection", folder)
    return folder / "production.yaml"


@pytest.fixture
def deploy(world: World, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """Runs a command in this process; gives what it printed, after a look at its exit code."""
    del world

    def run(*arguments: object, expect: int = 0) -> str:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == expect, f"exit {code}\n{shown.out}\n{shown.err}"
        assert "Traceback" not in shown.err
        return shown.out + shown.err

    return run
