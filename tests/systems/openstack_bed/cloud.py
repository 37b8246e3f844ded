"""What tests get of the bed: how to reach it, what was asked of it, and ways to make it fail."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openstack

from tests.systems.openstack_bed.configuration import CATALOG, TOKEN_CACHE
from tests.systems.openstack_bed.processes import Processes

CLOUD = "bed"
"""In clouds.yaml: the operator's cloud."""
ADMIN = "bed-admin"
"""The same cloud as its administrator sees it."""


@dataclass(frozen=True)
class Call:
    """One request of a client that was answered."""

    service: str
    method: str
    path: str
    query: str
    status: int
    at: float
    seconds: float


@dataclass
class Calls:
    """The requests made while something was watched; complete when the block has ended."""

    made: list[Call] = field(default_factory=list)

    def by_method(self) -> dict[tuple[str, str], int]:
        """How many, by service and method."""
        return dict(Counter((call.service, call.method) for call in self.made))

    def count(self, service: str = "", method: str = "") -> int:
        """How many of a service, of a method, or of both."""
        return sum(service in {"", call.service} and method in {"", call.method} for call in self.made)


@dataclass(frozen=True)
class OpenStackCloud:
    """A running cloud.

    Args:
        auth_url: Of keystone, over TLS.
        username: Of the operator, an ordinary member of the project.
        password: Of the operator; made anew with every environment.
        project: The operator's.
        region: The only one.
        ca: Certificate of the authority that keystone's is checked with; no store of the machine has it.
        clouds_file: A clouds.yaml with the clouds :data:`CLOUD` and :data:`ADMIN`.
        folder: Where logs and everything else are.
        processes: The servers, by name.
        ports: Service to the port for clients.
        answers: Whether a service does.
    """

    auth_url: str
    username: str
    password: str
    project: str
    region: str
    ca: Path
    clouds_file: Path
    folder: Path
    processes: Processes
    ports: dict[str, int]
    answers: Callable[[str], bool]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which any client finds the cloud."""
        return {"OS_CLIENT_CONFIG_FILE": str(self.clouds_file), "OS_CLOUD": CLOUD}

    @property
    def password_environment(self) -> dict[str, str]:
        """The same without a clouds.yaml."""
        return {
            "OS_AUTH_URL": self.auth_url,
            "OS_USERNAME": self.username,
            "OS_PASSWORD": self.password,
            "OS_PROJECT_NAME": self.project,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_REGION_NAME": self.region,
            "OS_CACERT": str(self.ca),
        }

    @contextmanager
    def _administrator(self) -> Iterator[Any]:
        with self.connection(ADMIN) as admin:
            yield admin

    @staticmethod
    @contextmanager
    def connect(clouds_file: Path, name: str) -> Iterator[openstack.connection.Connection]:
        """A client of one of the clouds of a file."""
        loader = openstack.config.OpenStackConfig(
            config_files=[str(clouds_file)], secure_files=[], vendor_files=[], load_envvars=False
        )
        with openstack.connection.Connection(config=loader.get_one(cloud=name)) as connection:
            yield connection

    @contextmanager
    def connection(self, name: str = CLOUD) -> Iterator[openstack.connection.Connection]:
        """A client; closed with the block."""
        with self.connect(self.clouds_file, name) as connection:
            yield connection

    def calls(self) -> list[Call]:
        """Every request of clients so far, by service and in the order of their answers."""
        return [
            Call(service=service, **json.loads(line))
            for service in self.ports
            for line in (self.folder / f"{service}.calls").read_text(encoding="utf-8").splitlines()
        ]

    @contextmanager
    def counting(self) -> Iterator[Calls]:
        """The requests that are made in the block."""
        counted, before = Calls(), Counter(call.service for call in self.calls())
        yield counted
        for call in self.calls():
            before[call.service] -= 1
            if before[call.service] < 0:
                counted.made.append(call)

    @contextmanager
    def through(self, service: str, url: str) -> Iterator[None]:
        """The catalog sends clients that log in during the block elsewhere: to a proxy that breaks things, say.

        Args:
            service: Whose endpoint it is.
            url: Schema, host and port; the endpoint's path stays.
        """
        kind, path = CATALOG[service]
        with self._administrator() as admin:
            (entry,) = admin.identity.services(type=kind)
            (endpoint,) = admin.identity.endpoints(service_id=entry.id, interface="public")
            was = endpoint.url
            admin.identity.update_endpoint(endpoint, url=url.rstrip("/") + path)
            try:
                yield
            finally:
                admin.identity.update_endpoint(endpoint, url=was)

    @contextmanager
    def locked_out(self) -> Iterator[None]:
        """The operator's token is worth nothing in the block, and no other one is to be had."""
        with self._administrator() as admin:
            operator = admin.identity.find_user(self.username, ignore_missing=False)
            admin.identity.update_user(operator, is_enabled=False)
            try:
                yield
            finally:
                admin.identity.update_user(operator, is_enabled=True)
        # What a service thinks of a token is a second old at most, and so is what it thought in the block.
        time.sleep(TOKEN_CACHE)

    def in_use(self, resource: str) -> int:
        """How much of a kind of resource (``CUSTOM_GPU``) servers have of the host, as placement counts it."""
        with self._administrator() as admin:
            (host,) = admin.placement.get("/resource_providers").json()["resource_providers"]
            usages = admin.placement.get(f"/resource_providers/{host['uuid']}/usages").json()["usages"]
            return int(usages[resource])

    @contextmanager
    def quota(self, **limits: int) -> Iterator[None]:
        """Another quota of the project for servers (``instances``, ``cores``, ``ram``, ``key_pairs``) in the block."""
        with self._administrator() as admin:
            project = admin.identity.find_project(self.project, ignore_missing=False)
            admin.compute.update_quota_set(project, **limits)
            try:
                yield
            finally:
                admin.compute.revert_quota_set(project)

    @contextmanager
    def network_quota(self, **limits: int) -> Iterator[None]:
        """Another quota of the project for the network (``floating_ips``, ``networks``, ``ports`` ...) in the block."""
        with self._administrator() as admin:
            project = admin.identity.find_project(self.project, ignore_missing=False)
            admin.network.update_quota(project.id, **limits)
            try:
                yield
            finally:
                admin.network.delete_quota(project.id)

    @contextmanager
    def volume_quota(self, **limits: int) -> Iterator[None]:
        """Another quota of the project for ``volumes`` and their ``gigabytes`` in the block."""
        with self._administrator() as admin:
            project = admin.identity.find_project(self.project, ignore_missing=False)
            admin.block_storage.update_quota_set(project, **limits)
            try:
                yield
            finally:
                admin.block_storage.revert_quota_set(project)

    @contextmanager
    def not_offered(self, service: str) -> Iterator[None]:
        """The catalog does not have a service for clients that log in during the block."""
        with self._administrator() as admin:
            (entry,) = admin.identity.services(type=CATALOG[service][0])
            admin.identity.update_service(entry, is_enabled=False)
            try:
                yield
            finally:
                admin.identity.update_service(entry, is_enabled=True)

    @contextmanager
    def host_with(self, *traits: str) -> Iterator[None]:
        """The compute host is of a kind in the block that it is not (``HW_CPU_X86_SGX``)."""
        with self._administrator() as admin:
            (host,) = admin.placement.resource_providers()
            path = f"/resource_providers/{host.id}/traits"
            said = {"headers": {"OpenStack-API-Version": "placement 1.6"}}
            told = admin.placement.get(path, **said).json()

            def set_to(names: list[str]) -> None:
                now = admin.placement.get(path, **said).json()["resource_provider_generation"]
                body = {"resource_provider_generation": now, "traits": names}
                answer = admin.placement.put(path, json=body, **said)
                assert answer.status_code == 200, answer.text

            set_to([*told["traits"], *traits])
            try:
                yield
            finally:
                set_to(told["traits"])

    @contextmanager
    def away(self, service: str = "nova") -> Iterator[None]:
        """Nobody listens where a service is reached, until :meth:`back` or the end of the block."""
        self.processes.stop(service)
        try:
            yield
        finally:
            self.back(service)

    def back(self, service: str = "nova") -> None:
        """Start a service that is away; returns when it answers."""
        if service not in self.processes.ids():
            self.processes.start(service)
        self.processes.until(service, lambda: self.answers(service))

    def memory(self) -> dict[str, int]:
        """MiB that each session's processes hold of their own, shared pages in parts."""
        return {name: self.processes.memory(name) for name in self.processes.ids()}

    def clear(self) -> None:
        """Remove what tests made in the project, whoever made it."""
        with self.connection() as operator:
            clear(operator)


def clear(operator: Any) -> None:
    """Delete what is in the project, in an order in which nothing is still needed."""
    _clear_servers(operator)
    _clear_volumes(operator.block_storage)
    _clear_network(operator)
    for image in list(operator.image.images(owner=operator.current_project_id)):
        operator.image.delete_image(image)


def _clear_servers(operator: Any) -> None:
    compute = operator.compute
    servers = list(compute.servers(details=False))
    for server in servers:
        compute.delete_server(server)
    for server in servers:
        compute.wait_for_delete(server, interval=0.2)
    for key in list(compute.keypairs()):
        compute.delete_keypair(key)
    for group in list(compute.server_groups()):
        compute.delete_server_group(group)


def _clear_volumes(storage: Any) -> None:
    for snapshot in list(storage.snapshots()):
        storage.delete_snapshot(snapshot)
        storage.wait_for_delete(snapshot, interval=0.2)
    volumes = list(storage.volumes())
    for volume in volumes:
        storage.delete_volume(volume)
    for volume in volumes:
        storage.wait_for_delete(volume, interval=0.2)


def _clear_network(operator: Any) -> None:
    network, mine = operator.network, {"project_id": operator.current_project_id}
    for address in list(network.ips(**mine)):
        network.delete_ip(address)
    for port in list(network.ports(**mine)):
        if port.device_owner == "network:router_interface":
            network.remove_interface_from_router(port.device_id, port=port.id)
        elif not port.device_owner.startswith("network:"):
            network.delete_port(port)
    for router in list(network.routers(**mine)):
        network.delete_router(router)
    for inside in list(network.networks(**mine)):
        network.delete_network(inside)
    for group in list(network.security_groups(**mine)):
        if group.name != "default":
            network.delete_security_group(group)
