"""Guests for machines of clouds that nobody boots: OpenSSH's own server for each, set up by what cloud-init is told.

All but the address and port that SSH connects to, and the login name, is as the provider tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import ClassVar

import yaml

from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.providers.cloud_init import user_data
from orchestrator.providers.openstack.provider import OpenStackProvider
from orchestrator.topology.model import Value
from tests.unit.remote.openssh_server import USER, Server, openssh_server

PROVIDER = "tests.unit.recovery.guests:AwsWithGuests"
OPENSTACK_PROVIDER = "tests.unit.recovery.guests:OpenStackWithGuests"

Told = Callable[[Machine, MachineRequest], str]
"""What a machine is told at its first start, as its user data."""


class Guests:
    """The servers, by the identifier of their instance.

    Args:
        folder: For their files.
        stack: Ends them.
        told: What a machine is told.
    """

    current: ClassVar[Guests]

    def __init__(self, folder: Path, stack: ExitStack, told: Told) -> None:
        self.told = told
        self._folder = folder
        self._stack = stack
        self._guard = Lock()
        self.servers: dict[str, Server] = {}

    def boot(self, machine: Machine, request: MachineRequest) -> None:
        """Start the guest of a machine that was made with this request, unless it runs."""
        with self._guard:
            if machine.id in self.servers:
                return
            told = yaml.safe_load(self.told(machine, request))
            folder = self._folder / machine.id
            paths = f"SetEnv GUEST_KEY={folder}/host_key GUEST_PID={folder}/pid"
            server = openssh_server(
                folder,
                *told["users"][0]["ssh_authorized_keys"],
                settings=paths,
                host_key=told["ssh_keys"]["ed25519_private"],
            )
            self.servers[machine.id] = self._stack.enter_context(server)

    def boot_by_hand(self, machine_id: str, authorized: str) -> Server:
        """Start the guest of a machine that somebody made, with a home folder of its own."""
        home = self._folder / f"home-{machine_id}"
        keys = f"AuthorizedKeysFile {home}/.ssh/authorized_keys {self._folder}/{machine_id}/authorized_keys"
        server = openssh_server(self._folder / machine_id, authorized, settings=f"{keys}\nSetEnv HOME={home}")
        home.mkdir()
        self.servers[machine_id] = self._stack.enter_context(server)
        return self.servers[machine_id]

    def met(self, machine: Machine) -> Machine:
        """The machine at the address of its guest."""
        server = self.servers.get(machine.id)
        return replace(machine, host="127.0.0.1", port=server.port, user=USER) if server else machine


@contextmanager
def guests(folder: Path, told: Told = lambda _, request: user_data(request)) -> Iterator[Guests]:
    """Guests for the time of the block."""
    with ExitStack() as stack:
        Guests.current = Guests(folder, stack, told)
        yield Guests.current


class WithGuests:
    """A provider of a cloud, whose machines are reached."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Make it, and boot it."""
        machine = super().create(request, progress)
        Guests.current.boot(machine, request)
        return Guests.current.met(machine)

    def start(self, machine_id: str) -> Machine:
        """Start it."""
        return Guests.current.met(super().start(machine_id))

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """Set it up."""
        return Guests.current.met(super().adjust(machine_id, setup))

    def adopt(self, machine_id: str, request: MachineRequest) -> Machine:
        """Adopt it."""
        return Guests.current.met(super().adopt(machine_id, request))

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """Find it."""
        return [Guests.current.met(machine) for machine in super().find(deployment)]


class AwsWithGuests(WithGuests, AwsProvider):
    """On AWS."""


class OpenStackWithGuests(WithGuests, OpenStackProvider):
    """On OpenStack."""
