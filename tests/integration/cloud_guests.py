"""Machines of the local provider in the place of guests that EC2's emulator does not boot.

Each is set up by what EC2 tells it at its first start, as far as that says who it is and who may log in. All but its
address is as the provider for AWS tells it; from "the instance runs" on everything is real.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import boto3
import yaml

from orchestrator.clients.engine import connect, engine_architecture
from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import PRIVATE_ADDRESS, DeploymentTag, Machine, MachineRequest
from orchestrator.providers.local.provider import LocalProvider
from orchestrator.topology.model import Value
from tests.contract.aws_bed import REGION

PROVIDER = "tests.integration.cloud_guests:AwsOverContainers"

_FIRST_START = """umask 077; key=/etc/ssh/ssh_host_ed25519_key
printf '%s' "$HOST_KEY" > $key && ssh-keygen -y -f $key > $key.pub || exit 1
for attempt in $(seq 120); do systemctl restart ssh && exit 0; sleep 0.5; done; exit 1"""


class ContainerGuests:
    """The containers, by the identifier of their instance."""

    current: ClassVar[ContainerGuests]

    def __init__(self, deployment: DeploymentTag) -> None:
        self._deployment = deployment
        self._maker = LocalProvider()
        self.machines: dict[str, Machine] = {}

    def boot(self, machine: Machine) -> None:
        """Start the guest of an instance, unless it runs."""
        if machine.id in self.machines:
            return
        client: Any = boto3.session.Session().client("ec2", region_name=REGION)
        asked = client.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
        told = yaml.safe_load(base64.b64decode(asked["UserData"]["Value"]))
        guest = self._maker.create(
            MachineRequest(
                deployment=self._deployment,
                address=f"guest-{told['hostname']}[0]",
                token=machine.id,
                hostname=told["hostname"],
                architecture=engine_architecture(),
                cpus=1,
                memory_mb=512,
                authorized_key=told["users"][0]["ssh_authorized_keys"][0],
            )
        )
        self.machines[machine.id] = guest
        environment = {"HOST_KEY": told["ssh_keys"]["ed25519_private"]}
        done = connect().containers.get(guest.id).exec_run(["sh", "-c", _FIRST_START], environment=environment)
        assert done.exit_code == 0, done.output

    def met(self, machine: Machine) -> Machine:
        """The machine at the address of its guest."""
        guest = self.machines.get(machine.id)
        return replace(machine, host=guest.host, details={PRIVATE_ADDRESS: guest.host}) if guest else machine

    def remove(self, machine_id: str) -> None:
        """Remove the guest of an instance."""
        if guest := self.machines.pop(machine_id, None):
            self._maker.delete(guest.id)

    def clear(self) -> None:
        """Remove all of them, and their network."""
        for machine_id in list(self.machines):
            self.remove(machine_id)
        self._maker.release(self._deployment)


class AwsOverContainers(AwsProvider):
    """The provider, whose machines are there."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Make it, and boot it."""
        machine = super().create(request, progress)
        ContainerGuests.current.boot(machine)
        return ContainerGuests.current.met(machine)

    def start(self, machine_id: str) -> Machine:
        """Start it."""
        return ContainerGuests.current.met(super().start(machine_id))

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """Set it up."""
        return ContainerGuests.current.met(super().adjust(machine_id, setup))

    def delete(self, machine_id: str) -> None:
        """Remove it."""
        super().delete(machine_id)
        ContainerGuests.current.remove(machine_id)

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """Find it."""
        return [ContainerGuests.current.met(machine) for machine in super().find(deployment)]
