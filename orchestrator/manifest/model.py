"""What the manifest says. Its JSON form is this model, key by key; ``SCHEMA_VERSION`` counts its changes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.planning.substitution import Substitution

SCHEMA_VERSION = 1

UNREACHABLE = "unreachable"
"""State of a machine that could not be reached when its cluster was last worked on."""


@dataclass(frozen=True, slots=True)
class ManifestNode:
    """A machine of a cluster; ``state`` is ``started``, or ``unreachable`` where the cluster has to do without it."""

    address: str
    hostname: str
    host: str
    state: str


@dataclass(frozen=True, slots=True)
class ManifestCluster:
    """A K3s cluster: its API, the kubeconfig's path, its machines, and OSCAR on it (empty where there is none)."""

    name: str
    layers: tuple[int, ...]
    api_endpoint: str
    kubeconfig: str
    nodes: tuple[ManifestNode, ...]
    oscar_endpoint: str
    store_endpoint: str
    ca_certificate: str

    @property
    def unreachable(self) -> tuple[str, ...]:
        """Addresses of the machines that it has to do without."""
        return tuple(node.address for node in self.nodes if node.state == UNREACHABLE)


@dataclass(frozen=True, slots=True)
class ManifestStorePath:
    """A path in an object store; files that arrive at or leave a component."""

    store: str
    path: str


@dataclass(frozen=True, slots=True)
class ManifestComponent:
    """A deployed component."""

    name: str
    layer: int
    cluster: str
    image: str
    image_digest: str
    service: str
    service_endpoint: str
    inputs: tuple[ManifestStorePath, ...]
    outputs: tuple[ManifestStorePath, ...]
    state: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All endpoints of a deployment. Holds no secret value.

    ``inputs`` is where files go in now and ``outputs`` where they come out, also while an apply moves things about.
    """

    schema_version: int
    deployment: str
    serial: int
    profile: str
    clusters: tuple[ManifestCluster, ...]
    components: tuple[ManifestComponent, ...]
    substitutions: tuple[Substitution, ...]
    inputs: tuple[ManifestStorePath, ...] = ()
    outputs: tuple[ManifestStorePath, ...] = ()
