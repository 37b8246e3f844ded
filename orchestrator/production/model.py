"""The canonical model of a production deployment: frozen, typed, the same for every way of writing the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from orchestrator.diagnostics import Location
from orchestrator.production.physical import PhysicalResource


class LayerType(StrEnum):
    """How the machines of a layer come about."""

    VIRTUAL = "Virtual"
    PHYSICAL_TO_BE_PROVISIONED = "PhysicalToBeProvisioned"
    PHYSICAL_ALREADY_PROVISIONED = "PhysicalAlreadyProvisioned"
    NATIVE_CLOUD_FUNCTION = "NativeCloudFunction"


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor of a resource; ``memory_gb`` is its internal memory in GB."""

    key: str
    name: str
    type: str
    architecture: str
    computing_units: float
    memory_gb: float = 0.0
    sgx: bool = False


@dataclass(frozen=True, slots=True)
class Accelerator:
    """An accelerator of a resource; ``model`` as ``VENDOR MODEL``, ``memory_gb`` of one unit, 0 if not known."""

    key: str
    type: str
    model: str
    units: int
    memory_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """What runs on the machines; ``image_id`` as ``scheme://place/identifier`` or empty."""

    type: str = ""
    distribution: str = ""
    version: str = ""
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class CloudFunctions:
    """What a resource of type NativeCloudFunction says: cloud functions of a region instead of machines.

    Attributes:
        region: Of the provider, e.g. ``us-east-1``.
        idle_time: Seconds that an unused function is kept warm.
        transition_cost: Cost of one hand-over between functions.
    """

    region: str = ""
    idle_time: float | None = None
    transition_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A number of equal machines of a layer; memory in MB, storage in GB, cost per node and hour.

    ``functions`` is set if these are no machines but cloud functions. ``places`` has the place of each key's value.
    """

    key: str
    name: str
    total_nodes: int
    description: str
    flavor: str
    cost: float | None
    memory_mb: int
    storage_gb: float
    storage_type: str
    system: OperatingSystem
    secure_boot: bool
    measured_boot: bool
    spot: bool
    processors: tuple[Processor, ...]
    accelerators: tuple[Accelerator, ...]
    place: Location = field(compare=False)
    functions: CloudFunctions | None = None
    places: Mapping[str, Location] = field(default_factory=dict, compare=False)

    def place_of(self, key: str) -> Location:
        """Where the value of a key of the file stands, else where the resource does."""
        return self.places.get(key, self.place)

    @property
    def architecture(self) -> str:
        """Architecture of the first processor, ``amd64`` or ``arm64``."""
        return self.processors[0].architecture if self.processors else "amd64"

    @property
    def cores(self) -> int:
        """Cores of one machine, at least 1."""
        return max(1, int(sum(p.computing_units for p in self.processors)))

    @property
    def gpus(self) -> int:
        """Graphics processors of one machine."""
        return sum(a.units for a in self.accelerators if a.type.upper() == "GPU")

    @property
    def sgx(self) -> bool:
        """Whether a processor offers SGX enclaves."""
        return any(p.sgx for p in self.processors)


@dataclass(frozen=True, slots=True)
class Layer:
    """A computational layer; components refer to its ``number``."""

    key: str
    name: str
    number: int
    type: LayerType
    domain: str
    resources: tuple[Resource, ...]
    place: Location = field(compare=False)
    number_place: Location = field(compare=False)

    def resource(self, name: str) -> Resource | None:
        """The resource of that name, capitals aside."""
        return next((r for r in self.resources if r.name.casefold() == name.casefold()), None)


@dataclass(frozen=True, slots=True)
class NetworkDomain:
    """A network domain; delay in seconds, bandwidth in Mbit/s."""

    key: str
    name: str
    access_delay: float | None
    bandwidth: float | None
    sub_domains: tuple[str, ...]
    layers: tuple[Layer, ...]
    place: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Container:
    """How a component runs; memory in MB. ``resource`` is the name of the selected resource.

    ``places`` has the place of each key's value.
    """

    key: str
    image: str
    memory_mb: int
    computing_units: float
    trusted_execution: bool
    network_protection: bool
    file_system_protection: bool
    gpu: bool
    expose: bool
    resource: str
    place: Location = field(compare=False)
    resource_place: Location = field(compare=False)
    places: Mapping[str, Location] = field(default_factory=dict, compare=False)

    def place_of(self, key: str) -> Location:
        """Where the value of a key of the file stands, else where the container does."""
        return self.places.get(key, self.place)


@dataclass(frozen=True, slots=True)
class Component:
    """A component on a layer."""

    key: str
    name: str
    layer: int
    container: Container
    place: Location = field(compare=False)
    layer_place: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Edge:
    """Results go from ``source`` to ``target``; ``probability`` is the share of them, from 0 to 1."""

    source: str
    target: str
    probability: float
    place: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Dag:
    """Which component's results go to which; ``components`` has their places.

    ``alternatives`` has the components that may be deployed in place of one.
    """

    components: Mapping[str, Location]
    edges: tuple[Edge, ...]
    alternatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QosConstraint:
    """A longest time, in seconds, for a component or, with several, for a way through the application.

    ``layer`` is the number of the execution layer that it was written for; ``None`` if for the whole application.
    """

    key: str
    components: tuple[str, ...]
    threshold: float
    is_global: bool
    place: Location = field(compare=False)
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceConstraints:
    """What a component says that it needs of a machine, in MB; video memory above 0 means a graphics processor."""

    ram_mb: int
    vram_mb: int
    place: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class DriftDetection:
    """How drift of a component's results is watched; intervals as the annotation writes them."""

    metric: str
    field: str
    test: str
    threshold: float | None
    interval: str
    monitoring_period: str
    collection_period: str


@dataclass(frozen=True, slots=True)
class SecurityNeeds:
    """What a component's ``security`` annotation asks for; the production file's flags say how it is deployed."""

    trusted_execution: bool = False
    network_shield: bool = False
    file_system_shield: bool = False
    confidentiality_of_processing: bool = False
    integrity_of_processing: bool = False
    confidentiality_at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a component's code is annotated with; times in seconds, the rate in requests a second.

    Attributes:
        component: Name of the component, as the production file or the annotated path has it.
        local_time: Longest time of the component itself.
        global_time: Longest time of the way that ends at it and begins at ``previous``.
        previous: Components of that way before it.
        throughput: Expected rate.
        partitions: Number of partitions that its model may be split into; 0 if it is not to be split.
        early_exits: Probability of each exit of its model, in order.
        performance: Metric of its model and the least value, e.g. ``("accuracy", 0.9)``.
        device: What it needs of a machine.
        drift: How its drift is watched.
        security: What it asks for.
        place: Where the file speaks of it.
    """

    component: str
    place: Location = field(compare=False)
    local_time: float | None = None
    global_time: float | None = None
    previous: tuple[str, ...] = ()
    throughput: float | None = None
    partitions: int = 0
    early_exits: tuple[float, ...] = ()
    performance: tuple[str, float] | None = None
    device: DeviceConstraints | None = None
    drift: DriftDetection | None = None
    security: SecurityNeeds | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of an application's alternative workflows; ``metric`` is what the optimiser ranked it by."""

    name: str
    edges: tuple[Edge, ...]
    metric: tuple[str, float] | None
    place: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Account:
    """One line of ``im/auth.dat``; user names, passwords and tokens are not kept.

    Attributes:
        key: Its ``id``; may be empty.
        type: InfrastructureManager, OpenStack, OpenNebula, EC2, OSCAR, Lambda, …
        host: Address of the service; may be empty.
    """

    key: str
    type: str
    host: str
    place: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Production:
    """Everything about a deployment.

    Attributes:
        name: The application's name, as written.
        deployment_name: Which of its deployments this is; may be empty.
        domains: Network domains with their layers, by key.
        components: By name, in the order of the file.
        dag: Edges between components.
        dag_assumed: Whether there was no DAG file, so that the order was assumed.
        constraints: Quality-of-service constraints.
        physical: Physical machines by layer number and resource name.
        partitions: Component to its partitions.
        annotations: By component; one that carries none is absent.
        alternatives: Alternative workflows, best first.
        alternative: Name of the one that ``dag`` was taken from; empty if there is none.
        accounts: Services that there are credentials for.
        unusable: Names of components that the file has and that are left out, since an error was found in them.
        place: Where the system is described.
        name_place: Where its name stands.
    """

    name: str
    deployment_name: str
    domains: tuple[NetworkDomain, ...]
    components: Mapping[str, Component]
    dag: Dag
    place: Location = field(compare=False)
    name_place: Location = field(compare=False)
    dag_assumed: bool = False
    constraints: tuple[QosConstraint, ...] = ()
    physical: tuple[PhysicalResource, ...] = ()
    partitions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    annotations: Mapping[str, Annotations] = field(default_factory=dict)
    alternatives: tuple[Alternative, ...] = ()
    alternative: str = ""
    accounts: tuple[Account, ...] = ()
    unusable: frozenset[str] = frozenset()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, by number."""
        return tuple(sorted((layer for d in self.domains for layer in d.layers), key=lambda layer: layer.number))

    def layer(self, number: int) -> Layer | None:
        """The layer of that number."""
        return next((layer for layer in self.layers if layer.number == number), None)


@dataclass(frozen=True, slots=True)
class ComponentSource:
    """A component's code: ``folder`` relative to the application's root, its digest, its environment variables."""

    folder: Path
    digest: str
