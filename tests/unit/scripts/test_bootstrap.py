"""What the bootstrap refuses, and when it keeps quiet. Installing for real is what every fresh clone does with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
FILES = (
    "pyproject.toml",
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-systems.lock",
    "orchestrator/__init__.py",
    "scripts/bootstrap",
)


@pytest.fixture
def checkout(repository: Path) -> Iterator[Path]:
    """A checkout without an environment, which every user can read."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for file in FILES:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / file, root / file)
        yield root


def bootstrap(
    checkout: Path, *arguments: str, user: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    command = [checkout / "scripts" / "bootstrap", *arguments]
    return subprocess.run(
        command, env=settings, user=user, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


@contextmanager
def engine_standin() -> Iterator[str]:
    """Something that answers an engine's ping once; yields its address."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as server:
        Path(name).chmod(0o755)
        path = Path(name) / "engine.sock"
        server.bind(str(path))
        path.chmod(0o666)
        server.listen(1)
        server.settimeout(20)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(200)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"unix://{path}"
        thread.join()


as_somebody_else = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as another user")


@pytest.mark.parametrize("arguments", [(), ("everything",)])
def test_an_unknown_target_gets_the_usage(checkout: Path, arguments: tuple[str, ...]) -> None:
    result = bootstrap(checkout, *arguments)
    assert result.returncode == 1
    assert "usage: scripts/bootstrap demo|test|slow|lint|systems" in result.stderr


def test_an_environment_of_somebody_else_is_left_alone(checkout: Path) -> None:
    theirs = checkout / ".venv"
    theirs.mkdir()
    (theirs / "pyvenv.cfg").write_text("home = elsewhere\n", encoding="utf-8")
    result = bootstrap(checkout, "lint")
    assert result.returncode == 1
    assert ".venv was not made by this script, so it is left alone" in result.stderr
    assert [path.name for path in theirs.iterdir()] == ["pyvenv.cfg"]


def test_a_python_that_is_too_old_is_told(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    result = bootstrap(checkout, "lint", PYTHON=str(old))
    assert result.returncode == 1
    assert "No Python 3.11, 3.12 or 3.13 was found" in result.stderr
    assert not (checkout / ".venv").exists()


@as_somebody_else
def test_an_ordinary_user_without_an_engine_learns_what_to_type(checkout: Path) -> None:
    result = bootstrap(checkout, "demo", user=NOBODY, DOCKER_HOST="unix:///nonexistent/engine.sock")
    assert result.returncode == 1
    assert "only root can start one of our own" in result.stderr
    assert "sudo make demo" in result.stderr
    assert not (checkout / ".venv").exists()


@as_somebody_else
def test_an_engine_that_answers_an_ordinary_user_is_enough(checkout: Path) -> None:
    # The environment that stands in the way stops it after the engine was looked at, before anything is installed.
    (checkout / ".venv").mkdir()
    with engine_standin() as address:
        result = bootstrap(checkout, "demo", user=NOBODY, DOCKER_HOST=address)
    assert "only root can start" not in result.stderr
    assert "docker.io" not in result.stderr


def test_it_says_nothing_when_all_is_there(repository: Path) -> None:
    environment = Path(os.environ.get("VENV", ".venv"))
    if not (repository / environment / ".stamp-requirements-dev.lock").is_file():
        pytest.skip("these tests do not run in the environment that the bootstrap made")
    result = bootstrap(repository, "lint", VENV=str(environment))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
