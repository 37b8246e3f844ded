"""What a provider is asked for, from a wanted machine: size, image, and who reaches it."""

from __future__ import annotations

import hashlib
import math

from orchestrator.planning.desired import DesiredInstance
from orchestrator.planning.records import FRONT
from orchestrator.providers.base import Access, DeploymentTag, MachineRequest
from orchestrator.topology.model import Value

PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""From where SSH is open to machines without any public address, unless something narrower is said."""

_LONGEST_LABEL = 63
_UNITS = {"": 1 / 1048576, "B": 1 / 1048576, "KB": 1 / 1024, "MB": 1, "MIB": 1, "GB": 1024, "GIB": 1024}
_UNITS |= {"TB": 1048576, "TIB": 1048576}


def machine_request(
    instance: DesiredInstance,
    tag: DeploymentTag,
    token: str,
    authorized_key: str,
    place: str = "",
    host_key: str = "",
) -> MachineRequest:
    """The request for a machine.

    Args:
        instance: The machine as it is wanted.
        tag: The deployment.
        token: What the machine carries.
        authorized_key: Who may log in.
        place: Where it is, if it is there already.
        host_key: Private host key for the first contact.
    """
    host = instance.capabilities.get("host", {})
    system = instance.capabilities.get("os", {})
    properties = instance.properties
    return MachineRequest(
        deployment=tag,
        address=instance.address,
        token=token,
        hostname=hostname_of(instance),
        architecture=str(instance.settings.get("architecture") or system.get("architecture", "amd64")),
        cpus=_whole(host.get("num_cpus", 1)),
        memory_mb=max(1, int(_mebibytes(host.get("mem_size", "1024 MB")))),
        authorized_key=authorized_key,
        settings=instance.settings,
        place=place,
        image=_text(properties.get("image_id")),
        flavor=_text(properties.get("flavor")),
        disk_gb=math.ceil(_mebibytes(host.get("disk_size", "0")) / 1024),
        volumes_gb=volumes_of(instance),
        gpus=_whole(properties.get("num_gpus")),
        gpu_memory_mb=_whole(properties.get("gpu_memory_mb")),
        gpu_model=f"{_text(properties.get('gpu_vendor'))} {_text(properties.get('gpu_model'))}".strip(),
        sgx=properties.get("sgx") is True,
        secure_boot=properties.get("secure_boot") is True,
        measured_boot=properties.get("measured_boot") is True,
        spot=properties.get("spot") is True,
        access=access_of(instance),
        host_key=host_key,
    )


def access_of(instance: DesiredInstance) -> Access:
    """Who reaches the machine; all of a node have the same rules, since they are in one group."""
    front = next(iter(instance.requirements.get(FRONT, ())), "")
    is_inside = instance.settings.get("public_address") is False
    networks = networks_in(_text(instance.settings.get("ssh_from"))) or (PRIVATE_NETWORKS if is_inside else ())
    ports = instance.properties.get("public_ports")
    return Access(
        group=instance.node,
        ssh_from=networks,
        public=not is_inside and not front,
        public_ports=tuple(_whole(port) for port in ports) if isinstance(ports, list) else (),
        jump=front,
    )


def volumes_of(instance: DesiredInstance) -> tuple[int, ...]:
    """Sizes of the machine's data volumes in GB: those that the template names, else the one of the profile."""
    named = instance.properties.get("data_volumes")
    sizes = named if isinstance(named, list) and named else [instance.settings.get("data_volume") or None]
    return tuple(_whole(size) for size in sizes if size is not None)


def networks_in(text: str) -> tuple[str, ...]:
    """The networks of a list separated by commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def hostname_of(instance: DesiredInstance) -> str:
    """A DNS label that is unique in the deployment: node name and index; of a long name its beginning and a digest."""
    name = f"{instance.node}-{instance.index}".replace("_", "-").lower()
    if len(name) <= _LONGEST_LABEL:
        return name
    end = f"-{hashlib.sha256(instance.node.encode()).hexdigest()[:8]}-{instance.index}"
    return name[: _LONGEST_LABEL - len(end)].rstrip("-") + end


def _mebibytes(size: Value) -> float:
    number, _, unit = str(size).partition(" ")
    return float(number) * _UNITS.get(unit.strip().upper(), 1)


def _whole(value: Value) -> int:
    return int(str(value)) if value is not None else 0


def _text(value: Value) -> str:
    return "" if value is None else str(value)
