"""Drives the real command line, and asks the engine past it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from orchestrator.clients.engine import connect, forget, stop_idle_own_engine

REPOSITORY = Path(__file__).resolve().parent.parent.parent
EXAMPLE = REPOSITORY / "examples" / "mask-detection"


@dataclass(frozen=True)
class Cli:
    """Runs ``deploy`` as a person would, in a folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        """How the command is started."""
        return [sys.executable, "-m", "orchestrator.cli.main"]

    @property
    def variables(self) -> dict[str, str]:
        """Its environment."""
        own = {"DEPLOY_HOME": str(self.folder / ".deploy"), "PYTHONPATH": str(REPOSITORY)}
        return {**os.environ, **own, **self.environment}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start it and go on."""
        return subprocess.Popen(
            [*self.argv, *map(str, arguments)],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: object, expect: int = 0, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run it to the end; shows everything if the exit code is another."""
        done = subprocess.run(
            [*self.argv, *map(str, arguments)],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        shown = f"$ deploy {' '.join(map(str, arguments))}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, shown
        assert "Traceback" not in done.stderr, shown
        return done

    def is_locked(self, deployment: str) -> bool:
        """Whether anybody holds the deployment's lock; asked of the kernel, past the orchestrator."""
        path = self.folder / ".deploy" / deployment / "lock"
        if not path.exists():
            return False
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def json(self, *arguments: object, expect: int = 0) -> Any:
        """Run it and read its result."""
        return json.loads(self.run(*arguments, expect=expect).stdout)


def small(application: Path) -> Path:
    """Make the example small: one Pi and one virtual machine. Returns the production file."""
    file = application / "production.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"totalNodes: \d+", "totalNodes: 1", text), encoding="utf-8")
    return file


class Engine:
    """The engine's own list of what there is, asked past the orchestrator, which may have stopped an idle engine."""

    def containers(self, deployment: str) -> list[Any]:
        """Containers of a deployment, running or not."""
        filters = {"label": f"continuum.deployment={deployment}"}
        found = self._client().containers.list(all=True, filters=filters)
        return sorted(found, key=lambda c: str(c.name))

    def addresses(self, deployment: str) -> list[str]:
        """Which node instances they are for, one entry a container."""
        return sorted(c.labels["continuum.address"] for c in self.containers(deployment))

    def networks(self, deployment: str) -> list[Any]:
        """Networks of a deployment."""
        return list(self._client().networks.list(filters={"label": f"continuum.deployment={deployment}"}))

    def wipe(self, deployment: str) -> None:
        """After a failed test: remove what it left, by label; then leave the engine as it was found."""
        for container in self.containers(deployment):
            container.remove(force=True, v=True)
        for network in self.networks(deployment):
            network.remove()
        forget()
        stop_idle_own_engine()

    def _client(self) -> docker.DockerClient:
        forget()
        return connect()
