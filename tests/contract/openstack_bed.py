"""The ground that the provider for OpenStack is tested on: a real control plane, looked at and changed past it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest

if TYPE_CHECKING:
    from tests.systems.openstack_bed.cloud import OpenStackCloud

PLACE = "127.0.0.1"
"""Host of the control plane's identity service."""
FLAVOR, OTHER_FLAVOR = "m1.small", "m1.medium"
MICROVERSION = "2.61"
SOON = 60.0


def openstack_settings(monkeypatch: pytest.MonkeyPatch, cloud: OpenStackCloud) -> None:
    """Let OpenStack clients speak to the cloud of the tests and nothing else, whatever the caller's settings are."""
    for name in list(os.environ):
        if name.startswith("OS_"):
            monkeypatch.delenv(name)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class OpenStackGround:
    """What a person could do with OpenStack's own client.

    Attributes:
        deployment: Whose things are looked at.
        cloud: The control plane.
        connection: A client that is logged in already; one of its own if there is none.
    """

    deployment: DeploymentTag
    cloud: OpenStackCloud
    connection: Any = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def client(self) -> Any:
        return self.connection or self._stack.enter_context(self.cloud.connection())

    def clear(self) -> None:
        """Remove all that is left, whoever made it."""
        self.cloud.clear()
        self._stack.close()

    def image(self, architecture: str = "x86_64") -> str:
        """Identifier of the image for a processor."""
        from tests.systems.openstack_bed.content import IMAGES

        return str(self.client.image.find_image(IMAGES[architecture], ignore_missing=False).id)

    def completed(self, request: MachineRequest) -> MachineRequest:
        """The request with what a cloud needs to know besides."""
        return replace(request, image=f"ost://{PLACE}/{self.image()}", flavor=FLAVOR)

    def stop(self, machine: Machine) -> None:
        self.client.compute.stop_server(machine.id)
        self._wait(machine.id, "SHUTOFF")

    def pause(self, machine: Machine) -> None:
        self.client.compute.pause_server(machine.id)
        self._wait(machine.id, "PAUSED")

    def set_up(self, machine: Machine) -> None:
        self.resize(machine)
        self.open_port(machine, 8080)
        self.client.compute.update_server(machine.id, name="renamed")

    def resize(self, machine: Machine) -> None:
        compute = self.client.compute
        compute.resize_server(machine.id, compute.find_flavor(OTHER_FLAVOR, ignore_missing=False))
        self._wait(machine.id, "VERIFY_RESIZE")
        compute.confirm_server_resize(machine.id)
        self._wait(machine.id, "ACTIVE")

    def open_port(self, machine: Machine, port: int) -> None:
        self.client.network.create_security_group_rule(
            security_group_id=self._groups(machine.id)[0],
            direction="ingress",
            ether_type="IPv4",
            protocol="tcp",
            port_range_min=port,
            port_range_max=port,
            remote_ip_prefix="0.0.0.0/0",
        )

    def close_port(self, machine: Machine, port: int) -> None:
        """Take away what opens the port, whoever it is open to."""
        for group in self._groups(machine.id):
            for rule in self.rules(group):
                if rule["port_range_min"] == port:
                    self.client.network.delete_security_group_rule(rule["id"])

    def open_ports(self, machine: Machine) -> set[tuple[str, int, int, str]]:
        """Everything that is let in: protocol, first and last port, and a network or ``members``."""
        found = set()
        groups = self._groups(machine.id)
        for rule in (rule for group in groups for rule in self.rules(group)):
            other = rule["remote_group_id"]
            assert other is None or other in groups, "open to a group that the machine is not in itself"
            everybody = "::/0" if rule["ethertype"] == "IPv6" else "0.0.0.0/0"
            source = "members" if other else rule["remote_ip_prefix"] or everybody
            found.add((rule["protocol"], rule["port_range_min"], rule["port_range_max"], source))
        return found

    def rules(self, group: str) -> list[dict[str, Any]]:
        """What a group lets in, as neutron tells it."""
        told = self.client.network.get(f"/security-groups/{group}").json()["security_group"]
        return [rule for rule in told["security_group_rules"] if rule["direction"] == "ingress"]

    def parts(self) -> Mapping[str, int]:
        """How many shared parts of each kind there are."""
        network, tag = self.client.network, f"continuum:lineage={self.deployment.lineage}"
        lists = {
            "networks": network.networks,
            "subnets": network.subnets,
            "gateways": network.routers,
            "groups": network.security_groups,
        }
        found = {name: len(list(listed(tags=tag))) for name, listed in lists.items()}
        keys = [key for key in self.client.compute.keypairs() if self.deployment.lineage in key.public_key]
        return {**found, "keys": len(keys)}

    def volumes(self, machine: Machine) -> list[int]:
        found = [
            v for v in self.client.block_storage.volumes() if machine.id in {a["server_id"] for a in v.attachments}
        ]
        return [v.size for v in sorted(found, key=lambda v: str(v.attachments[0]["device"])) if not v.is_bootable]

    def by_hand(self) -> str:
        """A machine that somebody made without the program."""
        client = self.client
        network = client.network.find_network("by-hand")
        if network is None:
            network = client.network.create_network(name="by-hand")
            cidr = {"name": "by-hand", "ip_version": 4, "cidr": "10.20.0.0/24"}
            subnet = client.network.create_subnet(network_id=network.id, **cidr)
            (outside,) = client.network.networks(is_router_external=True)
            router = client.network.create_router(name="by-hand", external_gateway_info={"network_id": outside.id})
            client.network.add_interface_to_router(router, subnet=subnet.id)
        server = client.compute.create_server(
            name="by-hand",
            image_id=self.image(),
            flavor_id=client.compute.find_flavor(OTHER_FLAVOR, ignore_missing=False).id,
            networks=[{"uuid": network.id}],
        )
        self._wait(server.id, "ACTIVE")
        return str(server.id)

    def is_there(self, machine_id: str) -> bool:
        return machine_id in {server["id"] for server in self.servers()}

    def remove_by_hand(self, machine_id: str) -> None:
        self.client.compute.delete_server(machine_id)
        while machine_id in {server["id"] for server in self._all_servers()}:
            time.sleep(0.2)

    def rename(self, machine: Machine, address: str) -> None:
        self.client.compute.set_server_metadata(machine.id, **{"continuum:address": address})

    def instance(self, machine_id: str) -> dict[str, Any]:
        """All that nova tells of a server, its metadata and tags apart."""
        told = self.client.compute.get(f"/servers/{machine_id}", microversion=MICROVERSION).json()["server"]
        apart = {"updated", "metadata", "tags"}
        tags = {"metadata": told["metadata"], "tags": told["tags"]}
        return {**{key: value for key, value in told.items() if key not in apart}, "Tags": tags}

    def servers(self) -> list[dict[str, Any]]:
        """All servers of the project that are not on their way out, as nova tells them."""
        there = [server for server in self._all_servers() if server["status"] != "DELETED"]
        return [server for server in there if server["OS-EXT-STS:task_state"] != "deleting"]

    def ports(self, machine_id: str) -> list[dict[str, Any]]:
        """Where a server is in its networks, as neutron tells it."""
        found: list[dict[str, Any]] = self.client.network.get(f"/ports?device_id={machine_id}").json()["ports"]
        return found

    def addresses(self) -> list[dict[str, Any]]:
        """Floating addresses of the project, as neutron tells them."""
        found: list[dict[str, Any]] = self.client.network.get("/floatingips").json()["floatingips"]
        return found

    def _all_servers(self) -> list[dict[str, Any]]:
        told = self.client.compute.get("/servers/detail", microversion=MICROVERSION).json()
        found: list[dict[str, Any]] = told["servers"]
        return found

    def _groups(self, machine_id: str) -> list[str]:
        return [group for port in self.ports(machine_id) for group in port["security_groups"]]

    def _wait(self, machine_id: str, status: str) -> None:
        compute = self.client.compute
        compute.wait_for_server(compute.get_server(machine_id), status=status, interval=0.2, wait=SOON)
