"""Machines that are there already, for a provider that makes none: containers of the local provider, as boards."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from threading import Event
from typing import Any

from orchestrator.clients.engine import connect, engine_architecture
from orchestrator.executors.places import HostPlace
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.providers.local.provider import LocalProvider
from orchestrator.providers.static.provider import StaticProvider
from orchestrator.remote.keys import generate_key
from orchestrator.remote.ssh import CommandResult, run, wait_for_ssh
from orchestrator.remote.target import SshTarget
from tests.secrets_in_memory import memory_secrets


class Boards:
    """Boards of one owner, made when they are first asked for; the provider under test knows them as places."""

    def __init__(self, deployment: DeploymentTag, *, firmware: str = "") -> None:
        lineage = uuid.uuid4().hex
        self.deployment = deployment
        self.architecture = engine_architecture()
        self.provider = StaticProvider()
        self.folder = Path(tempfile.mkdtemp(prefix="boards-"))
        private, self.public = generate_key()
        self.key = self.folder / "owner"
        self.key.touch(0o600)
        self.key.write_text(private, encoding="utf-8")
        self.secrets = memory_secrets({"ssh-key": generate_key()[0]})
        self.machines: dict[int, Machine] = {}
        self._maker = LocalProvider()
        self._tag = DeploymentTag(f"boards-{lineage[:8]}", lineage)
        self._settings = {"firmware": firmware} if firmware else {}

    def make(self, index: int) -> Machine:
        """The board, which answers SSH."""
        if index not in self.machines:
            request = MachineRequest(
                deployment=self._tag,
                address=f"board[{index}]",
                token=f"board-{index}",
                hostname=f"board-{index}",
                architecture=self.architecture,
                cpus=1,
                memory_mb=512,
                authorized_key=self.public,
                settings=dict(self._settings),
            )
            self.machines[index] = self._maker.create(request)
            wait_for_ssh(self.target(index), 60, Event())
        return self.machines[index]

    def target(self, index: int) -> SshTarget:
        """How its owner logs in."""
        machine = self.machines[index]
        return SshTarget(machine.host, machine.port, machine.user, self.key, machine.host_key)

    def entry(self, index: int) -> dict[str, str]:
        """How an input file describes it; its host key is not known beforehand."""
        machine = self.make(index)
        return {"host": machine.host, "user": machine.user, "key_file": str(self.key)}

    def place(self, index: int) -> str:
        """Tell the provider where it is."""
        before = next((m for m in self.provider.find(self.deployment) if m.host == self.entry(index)["host"]), None)
        recorded = {"machine_id": before.id, "host_key": before.host_key} if before else {}
        address, lineage = f"edge[{index}]", self.deployment.lineage
        place = HostPlace(address, lineage, self.entry(index), recorded, self.secrets, self.folder / "state")
        self.provider.know([place])
        return place.id

    def shell(self, index: int, command: str) -> CommandResult:
        """Do something as its owner."""
        return run(self.target(index), command, 30)

    def stop(self, machine: Machine) -> None:
        """Pull the plug."""
        self._container(machine).kill()

    def resume(self, machine: Machine) -> Machine:
        """Plug it in again."""
        self._container(machine).start()
        index = next(i for i, made in self.machines.items() if made.host == machine.host)
        wait_for_ssh(self.target(index), 60, Event())
        return self.provider.start(machine.id)

    def clear(self) -> None:
        """Take all boards away."""
        for machine in self._maker.find(self._tag):
            self._maker.delete(machine.id)
        self._maker.release(self._tag)
        shutil.rmtree(self.folder)

    def _container(self, machine: Machine) -> Any:
        made = next(made for made in self.machines.values() if made.host == machine.host)
        return connect().containers.get(made.id)
