"""A provider in front of an emulator of AWS, with a proxy between that can be told to make trouble."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest
from orchestrator.remote.keys import generate_key
from tests.contract.aws_bed import IMAGE, REGION, AwsGround
from tests.faulty_api import FaultyApi, faulty_api
from tests.moto_server import aws_settings


@dataclass
class Bed:
    """What a test works with.

    Attributes:
        api: The proxy.
        ground: AWS past the proxy.
        deployment: Whom machines are made for.
        pauses: Seconds that the provider would have waited.
        on_pause: What happens meanwhile.
    """

    api: FaultyApi
    ground: AwsGround
    deployment: DeploymentTag
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[], None] = lambda: None

    def provider(self) -> AwsProvider:
        """One that knows nothing yet, as in a new run."""

        def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.on_pause()

        return AwsProvider(REGION, pause)

    def request(self, index: int = 0, **otherwise: Any) -> MachineRequest:
        """Nothing that has to be asked for in lists that take long."""
        asked = MachineRequest(
            deployment=self.deployment,
            address=f"edge[{index}]",
            token=f"token-{index}",
            hostname=f"edge-{index}",
            architecture="amd64",
            cpus=1,
            memory_mb=512,
            authorized_key=AUTHORIZED,
            image=f"aws://{REGION}/{IMAGE}",
            flavor="t3.small",
            access=Access(group="edge", ssh_from=("203.0.113.7/32",), public=False),
            host_key=HOST_KEY,
        )
        return replace(asked, **otherwise)

    def instances(self) -> list[dict[str, Any]]:
        """All of the deployment that are there, as EC2 tells them."""
        filters = [
            {"Name": "tag:continuum:lineage", "Values": [self.deployment.lineage]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ]
        found = self.ground.client.describe_instances(Filters=filters)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]


HOST_KEY, AUTHORIZED = generate_key()


@pytest.fixture
def bed(aws_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    lineage = uuid.uuid4().hex
    deployment = DeploymentTag(f"unit-{lineage[:8]}", lineage)
    with faulty_api(aws_server) as api:
        aws_settings(monkeypatch, api.url)
        bed = Bed(api, AwsGround(deployment, aws_server), deployment)
        yield bed
        api.mend()
        bed.on_pause = lambda: None
        provider = bed.provider()
        for machine in provider.find(deployment):
            provider.delete(machine.id)
        provider.release(deployment)
        assert provider.leftovers(deployment) == []
