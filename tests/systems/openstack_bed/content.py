"""What an operator finds in the cloud: users, images, flavors, networks, a zone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.systems.openstack_bed.configuration import CATALOG, EXTERNAL_NETWORK, HOST, REGION, Place

OPERATOR = "operator"
PROJECT = "edge"
ZONE = "zone-1"
"""The only zone, beside nova's internal one."""
IMAGES = {"x86_64": "debian-12-amd64", "aarch64": "debian-12-arm64"}
"""Architecture, as the image's properties say it, to the image's name."""
IMAGE_DISK = 2
"""Gigabytes that an image wants, at least."""
EXTERNAL_SUBNET = "203.0.113.0/24"


@dataclass(frozen=True)
class Flavor:
    """A size of server. ``memory`` is in MiB, ``disk`` in GiB."""

    name: str
    cores: int
    memory: int
    disk: int
    properties: dict[str, str] = field(default_factory=dict)


FLAVORS = (
    Flavor("m1.tiny", 1, 512, 1),
    Flavor("m1.small", 1, 2048, 20),
    Flavor("m1.medium", 2, 4096, 40),
    Flavor("m1.large", 4, 8192, 80),
    Flavor("m1.xlarge", 8, 16384, 160),
    Flavor("c1.large", 8, 8192, 40),
    Flavor("r1.large", 4, 32768, 40),
    Flavor("gpu1.v100", 8, 61440, 100, {"resources:CUSTOM_GPU": "1", "trait:CUSTOM_GPU_V100": "required"}),
    Flavor("sgx1.small", 2, 4096, 40, {"trait:HW_CPU_X86_SGX": "required"}),
)
TINY = "m1.tiny"
"""Too small a disk for the images."""
GPU = "gpu1.v100"
"""The compute host has four of it."""
NOWHERE = "sgx1.small"
"""Of a kind that the compute host is not: no valid host."""


def make_users(admin: Any, place: Place, passwords: dict[str, str]) -> None:
    """The user of the services, the catalog, and the operator with a project."""
    identity = admin.identity
    roles = {role.name: role for role in identity.roles()}
    for user, project, names in (
        ("services", "service", ("admin", "service")),
        (OPERATOR, PROJECT, ("member",)),
    ):
        into = identity.create_project(name=project, domain_id="default")
        made = identity.create_user(
            name=user, password=passwords[user], domain_id="default", default_project_id=into.id
        )
        for name in names:
            identity.assign_project_role_to_user(into, made, roles[name])
    for service, (kind, _) in CATALOG.items():
        if kind == "identity":
            continue
        entry = identity.create_service(name=service, type=kind)
        for interface in ("internal", "public"):
            identity.create_endpoint(
                service_id=entry.id, interface=interface, url=place.url(service, interface), region_id=REGION
            )


def make_cloud(admin: Any) -> None:
    """Images, flavors, the network that leads outside, and a zone with the compute host."""
    for architecture, name in IMAGES.items():
        admin.image.create_image(
            name=name,
            data=f"no guest boots from this: {name}".encode(),
            disk_format="raw",
            container_format="bare",
            visibility="public",
            min_disk=IMAGE_DISK,
            min_ram=512,
            architecture=architecture,
            hw_architecture=architecture,
            os_distro="debian",
            os_version="12",
        )
    for flavor in FLAVORS:
        made = admin.compute.create_flavor(
            name=flavor.name, vcpus=flavor.cores, ram=flavor.memory, disk=flavor.disk, is_public=True
        )
        if flavor.properties:
            admin.compute.create_flavor_extra_specs(made, flavor.properties)
    outside = admin.network.create_network(
        name=EXTERNAL_NETWORK,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network=EXTERNAL_NETWORK,
    )
    admin.network.create_subnet(
        network_id=outside.id, name=EXTERNAL_NETWORK, ip_version=4, cidr=EXTERNAL_SUBNET, is_dhcp_enabled=False
    )
    zone = admin.compute.create_aggregate(name=ZONE, availability_zone=ZONE)
    admin.compute.add_host_to_aggregate(zone, HOST)
