"""The command line as a process of its own, over machines of AWS whose guests somebody else keeps.

``GUESTS_URL/<instance>`` boots the guest of an instance, unless it runs, and tells the port of its SSH.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from orchestrator.cli.main import main
from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.providers.registry import PROVIDERS
from orchestrator.remote import host_key_rotation
from orchestrator.topology.model import Value
from tests.unit.remote.openssh_server import USER


def met(machine: Machine) -> Machine:
    """The machine at the address of its guest."""
    url = f"{os.environ['GUESTS_URL']}/{machine.id}"
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - on loopback
        return replace(machine, host="127.0.0.1", port=int(answer.read()), user=USER)


class AwsWithGuestsElsewhere(AwsProvider):
    """The provider, whose machines are reached."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Make it."""
        return met(super().create(request, progress))

    def start(self, machine_id: str) -> Machine:
        """Start it."""
        return met(super().start(machine_id))

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """Set it up."""
        return met(super().adjust(machine_id, setup))

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """Find it."""
        return [met(machine) for machine in super().find(deployment)]


if __name__ == "__main__":
    PROVIDERS["aws"] = "tests.unit.recovery.deploy_over_guests:AwsWithGuestsElsewhere"
    host_key_rotation.HOST_KEY = '"$GUEST_KEY"'
    host_key_rotation.RELOAD = 'kill -HUP $(cat "$GUEST_PID")'
    sys.exit(main(sys.argv[1:]))
