"""Networks of local machines: one for each deployment, on a free range, with a fixed address for each machine."""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import docker
import docker.errors
from docker.models.networks import Network
from docker.types import EndpointConfig, IPAMConfig, IPAMPool

from orchestrator.clients.engine import own_engine_leaves_packet_filter_alone, translated_errors
from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag
from orchestrator.providers.local.labels import deployment_labels, label_filters
from orchestrator.providers.local.passage import open_passage

POOLS = (IPv4Network("10.210.0.0/15"), IPv4Network("172.28.0.0/14"), IPv4Network("192.168.224.0/19"))
"""Private ranges that networks are cut from, the first one preferred."""

PREFIX = 22
"""Size of one network: about a thousand machines."""


ATTEMPTS = 8
"""How many ranges are offered to the engine before it is believed that it will take none."""


class DeploymentNetwork:
    """The network of one deployment; made when it is first asked for and missing.

    Args:
        client: The engine.
        deployment: Whose network it is.
    """

    def __init__(self, client: docker.DockerClient, deployment: DeploymentTag) -> None:
        self._client = client
        self._deployment = deployment
        self.name = f"continuum-{deployment.name}"

    def endpoint(self, host: str, hostname: str) -> dict[str, EndpointConfig]:
        """How a container joins: with a fixed address, and found by its hostname."""
        return {self.name: self._client.api.create_endpoint_config(ipv4_address=host, aliases=[hostname])}

    def next_address(self, used: Iterable[str]) -> str:
        """A free address; the network is made if it is missing.

        Args:
            used: Addresses of the deployment's machines, stopped ones included.

        Raises:
            ProviderError: If no range or no address is free.
        """
        network = self._find() or self._create()
        if own_engine_leaves_packet_filter_alone():
            open_passage(network)
        subnet = IPv4Network(network.attrs["IPAM"]["Config"][0]["Subnet"])
        joined = (c["IPv4Address"].split("/")[0] for c in (network.attrs.get("Containers") or {}).values())
        address = free_address(subnet, {IPv4Address(a) for a in (*used, *joined) if a})
        if address is None:
            raise ProviderError(
                "The network is full.",
                detail=f"Every address of {self.name} ({subnet}) is in use.",
                resolution="Deploy fewer machines, or split the deployment.",
            )
        return str(address)

    def _find(self) -> Network | None:
        filters = {"label": label_filters(self._deployment)}
        with translated_errors(f"looking for the network {self.name}"):
            found = self._client.networks.list(filters=filters)
            if len(found) > 1:
                raise ProviderError(
                    "Two networks claim to be the same.",
                    detail=f"Deployment {self._deployment.name} has the networks {found[0].id} and {found[1].id}.",
                    resolution="Remove the one that no machine uses.",
                )
            return self._client.networks.get(found[0].id or "") if found else None

    def _create(self) -> Network:
        with translated_errors(f"creating the network {self.name}"):
            same = [n for n in self._client.networks.list(names=[self.name]) if n.name == self.name]
            if same:
                raise ProviderError(
                    "The network's name is taken.",
                    detail=f"The engine has a network {self.name} that does not belong to this deployment.",
                    resolution=f"Remove it (`docker network rm {self.name}`) or rename the deployment.",
                )
            subnets = candidate_subnets(self._deployment.lineage, [*self._engine_subnets(), *routed_networks()])
            refusals = []
            for subnet, _ in zip(subnets, range(ATTEMPTS), strict=False):
                try:
                    return self._create_on(subnet)
                except docker.errors.APIError as error:
                    refusals.append(f"{subnet}: {error.explanation}")
        raise ProviderError(
            "No network could be made.",
            detail=f"The engine took none of {len(refusals)} address ranges. {'; '.join(refusals)}",
            resolution="Free one of these ranges: remove networks that nobody uses (`docker network prune`).",
        )

    def _create_on(self, subnet: IPv4Network) -> Network:
        created = self._client.networks.create(
            self.name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=str(next(subnet.hosts())))]),
            labels=deployment_labels(self._deployment),
        )
        return self._client.networks.get(created.id or "")

    def _engine_subnets(self) -> list[IPv4Network]:
        found = []
        for network in self._client.networks.list():
            for pool in (network.attrs.get("IPAM") or {}).get("Config") or []:
                subnet = pool.get("Subnet", "")
                if subnet and ":" not in subnet:
                    found.append(IPv4Network(subnet, strict=False))
        return found


def candidate_subnets(seed: str, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Free subnets, best first.

    Args:
        seed: The same seed begins with the same subnet, so that a deployment tends to keep its addresses; different
            seeds spread, so that two programs that choose at once seldom collide.
        taken: Ranges that must not be overlapped.
    """
    used = list(taken)
    for pool in POOLS:
        subnets = list(pool.subnets(new_prefix=PREFIX))
        first = zlib.crc32(seed.encode()) % len(subnets)
        for subnet in (*subnets[first:], *subnets[:first]):
            if not any(subnet.overlaps(other) for other in used):
                yield subnet


def free_address(subnet: IPv4Network, used: Iterable[IPv4Address]) -> IPv4Address | None:
    """The lowest address of a subnet that nobody has; its first one is the gateway's. None if it is full."""
    taken = set(used)
    hosts = subnet.hosts()
    next(hosts)
    return next((address for address in hosts if address not in taken), None)


def routed_networks(table: Path = Path("/proc/net/route")) -> list[IPv4Network]:
    """What this machine has routes to: networks of its interfaces, of virtual private networks, of other engines."""
    found = []
    for line in table.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        destination, mask = (_address(fields[1]), _address(fields[7]))
        network = IPv4Network(f"{destination}/{mask}", strict=False)
        if network.prefixlen > 0:
            found.append(network)
    return found


def _address(hexadecimal: str) -> str:
    """An address as the kernel's route table writes it: hexadecimal, in this machine's byte order."""
    return socket.inet_ntoa(struct.pack("=L", int(hexadecimal, 16)))
