"""What is set on the container of a machine and a hand can change while it is there: read, and set again in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker
import docker.errors

from orchestrator.errors import ProviderError
from orchestrator.topology.model import Value

MEMORY, CPUS, RESTART, NETWORKS, CONTAINER = "memory_mb", "cpus", "restart", "networks", "container"

_MEBIBYTE = 1024**2
_BILLION = 10**9
_NO_LIMIT = 0


def read_setup(inspected: Mapping[str, Any]) -> dict[str, Value]:
    """Size, restart policy, networks with the machine's address in each, and name, as the engine tells them.

    Args:
        inspected: The engine's full description of the container.
    """
    limits = inspected["HostConfig"]
    joined = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        MEMORY: _in_units(limits.get("Memory"), _MEBIBYTE),
        CPUS: _in_units(limits.get("NanoCpus"), _BILLION),
        RESTART: (limits.get("RestartPolicy") or {}).get("Name") or "no",
        NETWORKS: {name: _address(joined[name]) for name in sorted(joined)},
        CONTAINER: str(inspected["Name"]).lstrip("/"),
    }


def adjust_setup(client: docker.DockerClient, inspected: Mapping[str, Any], wanted: Mapping[str, Value]) -> None:
    """Set on a container what differs from ``wanted``; it goes on running.

    Args:
        client: The engine.
        inspected: The engine's full description of the container.
        wanted: Some of what ``read_setup`` gives.

    Raises:
        ProviderError: A network that it was on is gone.
    """
    present = read_setup(inspected)
    differing = {name: value for name, value in wanted.items() if present.get(name) != value}
    container_id = inspected["Id"]
    limits = _limits(differing)
    if limits:
        # The library has no argument for the number of processors.
        api: Any = client.api
        api._result(api._post_json(api._url("/containers/{0}/update", container_id), data=limits), json=True)  # noqa: SLF001
    if CONTAINER in differing:
        client.api.rename(container_id, str(differing[CONTAINER]))
    before, after = present[NETWORKS], differing.get(NETWORKS)
    if isinstance(before, dict) and isinstance(after, dict):
        _join(client, inspected, before, after)


def _limits(differing: Mapping[str, Value]) -> dict[str, Any]:
    """What the engine is to update, in its own words and units."""
    limits: dict[str, Any] = {}
    if MEMORY in differing:
        memory = _in_engine_units(differing[MEMORY], _MEBIBYTE)
        # As when the container is made: as much swap again as memory.
        limits |= {"Memory": memory or -1, "MemorySwap": memory * 2 or -1}
    if CPUS in differing:
        limits["NanoCpus"] = _in_engine_units(differing[CPUS], _BILLION)
    if RESTART in differing:
        limits["RestartPolicy"] = {"Name": str(differing[RESTART]), "MaximumRetryCount": 0}
    return limits


def _join(
    client: docker.DockerClient, inspected: Mapping[str, Any], before: Mapping[str, Value], after: Mapping[str, Value]
) -> None:
    """Take the container off networks, and put it on others, until it is on those of ``after``."""
    container_id, hostname = inspected["Id"], inspected["Config"]["Hostname"]
    for name in before:
        if before[name] != after.get(name):
            client.api.disconnect_container_from_network(container_id, name, force=True)
    for name, address in after.items():
        if before.get(name) == address:
            continue
        try:
            client.api.connect_container_to_network(
                container_id, name, ipv4_address=str(address or "") or None, aliases=[hostname]
            )
        except docker.errors.NotFound as error:
            raise ProviderError(
                "A network of the machine is gone.",
                detail=f"The container {str(inspected['Name']).lstrip('/')} was on the network {name}, which the "
                "engine does not have any longer.",
                resolution="Make the machines of the deployment anew: add --replace with the name of each node.",
            ) from error


def _address(endpoint: Mapping[str, Any]) -> str:
    """The address that was asked for, which also a stopped container has; else the one that it was given."""
    return str((endpoint.get("IPAMConfig") or {}).get("IPv4Address") or endpoint.get("IPAddress") or "")


def _in_units(number: int | None, unit: int) -> Value:
    """A limit in units, as a whole number if it is one; ``None`` for no limit."""
    if not number or number < 0:
        return None
    return number // unit if number % unit == 0 else round(number / unit, 3)


def _in_engine_units(value: Value, unit: int) -> int:
    return int(float(value) * unit) if isinstance(value, (int, float)) else _NO_LIMIT
