"""The provider for OpenStack over a real control plane, with proxies between that can be told to make trouble."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.base import Access, DeploymentTag, Machine, MachineRequest
from orchestrator.providers.openstack.provider import OpenStackProvider
from orchestrator.remote.keys import generate_key
from tests.contract.openstack_bed import FLAVOR, PLACE, OpenStackGround
from tests.faulty_api import FaultyApi, faulty_api
from tests.systems.openstack_bed.cloud import OpenStackCloud

HOST_KEY, AUTHORIZED = generate_key()
INSIDE = Access(group="edge", ssh_from=("203.0.113.7/32",), public=False)
OUTSIDE = replace(INSIDE, public=True)
_LONGEST_PAUSE = 0.3


@dataclass(frozen=True)
class Ways:
    """What clients that log in now meet.

    Attributes:
        nova: The proxy on their way to nova.
        neutron: The one on their way to neutron.
        cinder: The one on their way to cinder.
        direct: A client that logged in before.
    """

    nova: FaultyApi
    neutron: FaultyApi
    cinder: FaultyApi
    direct: Any

    def mend(self) -> None:
        """No trouble any longer, and nothing counted."""
        for api in (self.nova, self.neutron, self.cinder):
            api.mend()
            api.calls.clear()


@contextmanager
def ways(cloud: OpenStackCloud) -> Iterator[Ways]:
    """Sends clients through proxies for the time of the block."""
    with cloud.connection() as direct, ExitStack() as stack:
        _log_in(direct)
        before = {}
        for service in ("nova", "neutron", "cinder"):
            before[service] = stack.enter_context(faulty_api(f"http://127.0.0.1:{cloud.ports[service]}"))
            stack.enter_context(cloud.through(service, before[service].url))
        yield Ways(before["nova"], before["neutron"], before["cinder"], direct)


def _log_in(client: Any) -> None:
    """Let a client find all services now."""
    for service in (client.compute, client.network, client.image, client.block_storage):
        service.get_endpoint()


@dataclass
class ProviderBed:
    """What a test works with.

    Attributes:
        cloud: The control plane.
        ways: The proxies before it.
        ground: The same past the proxies.
        deployment: Whom machines are made for.
        image: What they are made from.
        pauses: Seconds that the provider would have waited.
        on_pause: What happens meanwhile.
    """

    cloud: OpenStackCloud
    ways: Ways
    ground: OpenStackGround
    deployment: DeploymentTag
    image: str
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[], None] = lambda: None

    def provider(self) -> OpenStackProvider:
        """One that knows nothing yet, as in a new run; it waits for real, but not long at a time."""

        def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.on_pause()
            time.sleep(min(seconds, _LONGEST_PAUSE))

        return OpenStackProvider(PLACE, pause)

    def request(self, index: int = 0, **otherwise: Any) -> MachineRequest:
        asked = MachineRequest(
            deployment=self.deployment,
            address=f"edge[{index}]",
            token=f"token-{index}",
            hostname=f"edge-{index}",
            architecture="amd64",
            cpus=1,
            memory_mb=512,
            authorized_key=AUTHORIZED,
            image=f"ost://{PLACE}/{self.image}",
            flavor=FLAVOR,
            access=INSIDE,
            host_key=HOST_KEY,
        )
        return replace(asked, **otherwise)

    def servers(self) -> list[dict[str, Any]]:
        """All of the deployment that are there, as nova tells them."""
        lineage = self.deployment.lineage
        return [s for s in self.ground.servers() if s["metadata"].get("continuum:lineage") == lineage]

    def refused(self, request: MachineRequest) -> ProviderError:
        """What making a machine in a new run fails at."""
        try:
            machine: Machine = self.provider().create(request)
        except ProviderError as error:
            return error
        raise AssertionError(f"it was made: {machine}")
