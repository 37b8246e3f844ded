"""Machines of a rehearsal: containers with systemd and SSH, on a network of their own for each deployment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import Any

import docker
import docker.errors

from orchestrator.clients.engine import (
    connect,
    engine_architecture,
    list_images,
    own_engine_leaves_packet_filter_alone,
    stop_idle_own_engine,
    translated_errors,
)
from orchestrator.errors import ProviderError
from orchestrator.images.base_image import LOGIN_USER, ensure_machine_image
from orchestrator.images.build_container import write_tar
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest, MachineState, Resource
from orchestrator.providers.local.container import (
    MODES,
    container_settings,
    generate_host_key,
    ssh_files,
)
from orchestrator.providers.local.firmware import INIT, KUBERNETES_NODE, boot_files
from orchestrator.providers.local.kernel import check_kernel
from orchestrator.providers.local.labels import (
    ADDRESS,
    DEPLOYMENT,
    HOST,
    HOST_KEY,
    TOKEN,
    label_filters,
    machine_labels,
)
from orchestrator.providers.local.network import DeploymentNetwork
from orchestrator.providers.local.passage import close_passage
from orchestrator.providers.local.setup import adjust_setup, read_setup
from orchestrator.providers.ownership import gone, made_before, not_ours
from orchestrator.topology.model import Value

SSH_PORT = 22

_STATES = {
    "running": MachineState.RUNNING,
    "restarting": MachineState.RUNNING,
    "paused": MachineState.PAUSED,
}
"""What the engine calls a container that is not stopped."""

_LOOKS = 8
"""How many containers the engine is asked about at a time."""


class LocalProvider:
    """Keeps machines as containers of the machine's container engine.

    A machine is known by its labels; it has a deterministic name and keeps its address through reboots.

    Args:
        client: The engine; found (or started) at first use if not given.
    """

    max_parallel = 16
    can_start = True

    def __init__(self, client: docker.DockerClient | None = None) -> None:
        self._given = client
        self._lock = Lock()
        self._image_lock = Lock()
        self._image = ""

    def open(self) -> None:
        """See the protocol."""
        if self._given is None:
            connect()

    def close(self) -> None:
        """See the protocol: an engine of our own with no container in it is stopped."""
        if self._given is None:
            stop_idle_own_engine()

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """See the protocol. One that was made but never started is made anew: there is nothing in it yet."""
        self.open()
        self._check_architecture(request)
        if request.settings.get(KUBERNETES_NODE):
            check_kernel()
        image = self._machine_image(progress)
        with self._lock:
            existing = self._existing(request)
            if existing is not None and existing["State"] != "created":
                return self._machine_by_id(existing["Id"])
            if existing is not None:
                self.delete(existing["Id"])
            container_id = self._create_container(request, image)
        with translated_errors(f"starting the machine {_name(request)}"):
            self._client.api.start(container_id)
        return self._machine_by_id(container_id)

    def start(self, machine_id: str) -> Machine:
        """See the protocol."""
        with translated_errors(f"starting the machine {machine_id[:12]}"):
            try:
                if self._client.api.inspect_container(machine_id)["State"].get("Paused"):
                    self._client.api.unpause(machine_id)
                self._client.api.start(machine_id)
            except docker.errors.NotFound as error:
                raise _gone(machine_id) from error
        return self._machine_by_id(machine_id)

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """See the protocol; a container goes on running meanwhile."""
        with translated_errors(f"mending the machine {machine_id[:12]}"):
            try:
                inspected = self._client.api.inspect_container(machine_id)
            except docker.errors.NotFound as error:
                raise _gone(machine_id) from error
            adjust_setup(self._client, inspected, setup)
        return self._machine_by_id(machine_id)

    def delete(self, machine_id: str) -> None:
        """See the protocol; its anonymous volumes go with it."""
        with translated_errors(f"removing the machine {machine_id[:12]}"):
            try:
                container = self._client.containers.get(machine_id)
                if DEPLOYMENT not in container.labels:
                    raise not_ours("container", container.name or machine_id)
                container.remove(force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if "already in progress" not in str(error.explanation):
                    raise

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """See the protocol. One list, then a look into each container, several at a time."""
        ids = [summary["Id"] for summary in self._summaries(deployment)]
        with ThreadPoolExecutor(_LOOKS) as pool:
            return [machine for machine in pool.map(self._look, ids) if machine is not None]

    def release(self, deployment: DeploymentTag) -> None:
        """See the protocol: removes the network once no machine is left, running or not."""
        if self._summaries(deployment):
            return
        filters = {"label": label_filters(deployment)}
        with translated_errors(f"removing the network of {deployment.name}"):
            for network in self._client.networks.list(filters=filters):
                if own_engine_leaves_packet_filter_alone():
                    close_passage(network)
                try:
                    network.remove()
                except docker.errors.NotFound:
                    continue
            for volume in self._client.volumes.list(filters=filters):
                volume.remove(force=True)

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """See the protocol: machines, networks, volumes and images that carry the deployment's labels."""
        filters = {"label": label_filters(deployment)}
        found = [
            Resource("machine", s["Id"], _container_name(s), s["Labels"].get(ADDRESS, ""))
            for s in self._summaries(deployment)
        ]
        with translated_errors(f"looking for leftovers of {deployment.name}"):
            found += [
                Resource("network", n.id or "", n.name or "") for n in self._client.networks.list(filters=filters)
            ]
            found += [Resource("volume", v.id or "", v.name) for v in self._client.volumes.list(filters=filters)]
            images = list_images(self._client, filters["label"])
            found += [Resource("image", i.id, ", ".join(i.tags)) for i in images]
        return found

    @cached_property
    def _client(self) -> docker.DockerClient:
        client = self._given or connect(start=False)
        with translated_errors("asking the container engine what it can do"):
            options = client.info().get("SecurityOptions") or []
        if any("name=rootless" in option for option in options):
            raise ProviderError(
                "A rootless container engine cannot carry machines.",
                detail="It hides the addresses of its containers, so no machine could be reached from here.",
                resolution="Start the system's engine, or unset DOCKER_HOST and run this command with sudo.",
            )
        return client

    def _machine_image(self, progress: Callable[[str], None]) -> str:
        """Made by the first who needs it; the others wait, and find it."""
        with self._image_lock:
            if not self._image:
                self._image = ensure_machine_image(self._client, progress)
            return self._image

    def _check_architecture(self, request: MachineRequest) -> None:
        """The profile says which architecture it wants here; an emulated one is not offered."""
        if "architecture" in request.settings:
            wanted = str(request.settings["architecture"] or engine_architecture())
        else:
            wanted = request.architecture
        if wanted != engine_architecture():
            raise ProviderError(
                "The container engine has another architecture.",
                detail=f"{request.address} is to be a {wanted} machine; the engine runs {engine_architecture()}.",
                resolution="Let the profile replace the architecture, or use an engine on such a machine.",
            )

    def _existing(self, request: MachineRequest) -> Mapping[str, Any] | None:
        """The container with the request's token; one of another generation stands in the way."""
        same = [s for s in self._summaries(request.deployment) if s["Labels"].get(ADDRESS) == request.address]
        found = {_container_name(summary): summary for summary in same}
        return found.get(made_before({name: s["Labels"].get(TOKEN, "") for name, s in found.items()}, request))

    def _create_container(self, request: MachineRequest, image: str) -> str:
        """Make the container, on its network and with its keys, but do not start it."""
        name = _name(request)
        network = DeploymentNetwork(self._client, request.deployment)
        host = network.next_address(s["Labels"].get(HOST, "") for s in self._summaries(request.deployment))
        private, public = generate_host_key()
        settings = container_settings(request, self._capacity)
        with translated_errors(f"creating the machine {name}"):
            try:
                container = self._client.containers.create(
                    image,
                    command=[INIT],
                    name=name,
                    labels=machine_labels(request, host=host, host_key=public),
                    network=network.name,
                    networking_config=network.endpoint(host, request.hostname),
                    **settings,
                )
            except docker.errors.APIError as error:
                if error.status_code == 409:
                    raise _name_taken(name) from error
                raise
            files = {**boot_files(request.settings), **ssh_files(private, public, request.authorized_key)}
            with tempfile.TemporaryFile() as archive:
                write_tar(archive, files, {INIT: 0o755, **MODES})
                archive.seek(0)
                container.put_archive("/", archive)
        return str(container.id)

    @cached_property
    def _capacity(self) -> Mapping[str, Any]:
        with translated_errors("asking the container engine what it can do"):
            return self._client.info()

    def _machine_by_id(self, machine_id: str) -> Machine:
        machine = self._look(machine_id)
        if machine is None:
            raise _gone(machine_id)
        return machine

    def _look(self, machine_id: str) -> Machine | None:
        """The machine as it is now; ``None`` if it is gone."""
        with translated_errors(f"looking at the machine {machine_id[:12]}"):
            try:
                return _machine(self._client.api.inspect_container(machine_id))
            except docker.errors.NotFound:
                return None

    def _summaries(self, deployment: DeploymentTag) -> list[dict[str, Any]]:
        """Short descriptions of the deployment's containers, running or not, in one call."""
        with translated_errors(f"listing the machines of {deployment.name}"):
            found: list[dict[str, Any]] = self._client.api.containers(
                all=True, filters={"label": label_filters(deployment)}
            )
        return sorted((s for s in found if TOKEN in s["Labels"]), key=_container_name)


def _machine(inspected: Mapping[str, Any]) -> Machine:
    """A machine from the engine's full description of its container."""
    labels = inspected["Config"]["Labels"]
    return Machine(
        id=inspected["Id"],
        address=labels[ADDRESS],
        token=labels[TOKEN],
        state=_STATES.get(inspected["State"]["Status"], MachineState.STOPPED),
        host=labels[HOST],
        port=SSH_PORT,
        user=LOGIN_USER,
        host_key=labels[HOST_KEY],
        setup=read_setup(inspected),
    )


def _name(request: MachineRequest) -> str:
    return f"{request.deployment.name}-{request.hostname}"


def _container_name(summary: Mapping[str, Any]) -> str:
    names = summary.get("Names") or [summary["Id"][:12]]
    return str(names[0]).lstrip("/")


def _gone(machine_id: str) -> ProviderError:
    return gone("The engine", "container", machine_id[:12])


def _name_taken(name: str) -> ProviderError:
    return ProviderError(
        "The machine's name is taken.",
        detail=f"The engine has a container {name} that does not belong to this deployment.",
        resolution=f"Remove it (`docker rm -f {name}`) if nobody needs it, or rename the deployment.",
    )
