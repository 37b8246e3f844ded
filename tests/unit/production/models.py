"""Models of production deployments, built by hand: small, valid, and with a place of its own for everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from orchestrator.diagnostics import Diagnostic, Location
from orchestrator.production.checks import check_production
from orchestrator.production.model import (
    Accelerator,
    Annotations,
    CloudFunctions,
    Component,
    Container,
    Dag,
    DeviceConstraints,
    Edge,
    Layer,
    LayerType,
    NetworkDomain,
    OperatingSystem,
    Processor,
    Production,
    QosConstraint,
    Resource,
)
from orchestrator.production.physical import PhysicalHost, PhysicalResource

RESOURCE_KEYS = ("memorySize", "totalNodes", "processors", "accelerators", "operatingSystemImageId")
CONTAINER_KEYS = (
    "image",
    "memorySize",
    "computingUnits",
    "trustedExecution",
    "networkProtection",
    "fileSystemProtection",
    "GPURequirement",
)


def at(what: str, file: str = "production.yaml") -> Location:
    """A place that only this thing has; its text says what it is."""
    return Location(file, 1 + crc32(what.encode()) % 100_000, 1, what)


def places(owner: str, keys: Sequence[str]) -> dict[str, Location]:
    return {key: at(f"{owner}.{key}") for key in keys}


def processor(architecture: str = "amd64", cores: float = 4, sgx: bool = False) -> Processor:
    return Processor(f"p-{architecture}", "CPU", "Type", architecture, cores, 8.0, sgx)


def gpu(model: str = "NVIDIA T4", units: int = 1, memory_gb: float = 0.0) -> Accelerator:
    return Accelerator("a", "GPU", model, units, memory_gb)


def resource(name: str = "vm", **changes: Any) -> Resource:
    values: dict[str, Any] = {
        "key": name,
        "name": name,
        "total_nodes": 2,
        "description": "",
        "flavor": "",
        "cost": None,
        "memory_mb": 8192,
        "storage_gb": 0.0,
        "storage_type": "",
        "system": OperatingSystem(image_id=changes.pop("image_id", "ost://cloud.example.org/1")),
        "secure_boot": False,
        "measured_boot": False,
        "spot": False,
        "processors": (processor(),),
        "accelerators": (),
        "place": at(f"resource {name}"),
        "places": places(name, RESOURCE_KEYS),
    }
    return Resource(**{**values, **changes})


def functions(name: str = "lambda", **changes: Any) -> Resource:
    values: dict[str, Any] = {"image_id": "", "functions": CloudFunctions("eu-west-1", 300.0, 0.1), "places": {}}
    return resource(name, **{**values, **changes})


def layer(number: int, *resources: Resource, kind: LayerType = LayerType.VIRTUAL, domain: str = "ND1") -> Layer:
    return Layer(
        key=f"layer{number}",
        name=f"Layer {number}",
        number=number,
        type=kind,
        domain=domain,
        resources=resources or (resource(),),
        place=at(f"layer {number}"),
        number_place=at(f"layer {number} number"),
    )


def function_layer(number: int, *resources: Resource, domain: str = "ND1") -> Layer:
    return layer(number, *(resources or (functions(),)), kind=LayerType.NATIVE_CLOUD_FUNCTION, domain=domain)


def edge_layer(number: int, *resources: Resource, domain: str = "ND1") -> Layer:
    return layer(number, *resources, kind=LayerType.PHYSICAL_TO_BE_PROVISIONED, domain=domain)


def domain(key: str, *layers: Layer, sub: Sequence[str] = ()) -> NetworkDomain:
    return NetworkDomain(key, key, None, None, tuple(sub), layers, at(f"domain {key}"))


def component(name: str, on: int = 1, resource: str = "vm", **changes: Any) -> Component:
    values: dict[str, Any] = {
        "key": "container1",
        "image": "registry.example.org/x:1",
        "memory_mb": 512,
        "computing_units": 1.0,
        "trusted_execution": False,
        "network_protection": False,
        "file_system_protection": False,
        "gpu": False,
        "expose": False,
        "resource": resource,
        "place": at(f"container {name}"),
        "resource_place": at(f"resource of {name}"),
        "places": places(name, CONTAINER_KEYS),
    }
    container = Container(**{**values, **changes})
    return Component(name, name, on, container, at(f"component {name}"), at(f"layer of {name}"))


def edge(source: str, target: str, probability: float = 1.0) -> Edge:
    return Edge(source, target, probability, at(f"{source}->{target}", "application_dag.yaml"))


def constraint(*way: str, is_global: bool = True, layer: int | None = None, key: str = "c1") -> QosConstraint:
    return QosConstraint(key, way, 10.0, is_global, at(f"constraint {key}", "qos_constraints.yaml"), layer)


def physical(on: int, name: str, *addresses: str, store: str = "") -> PhysicalResource:
    hosts = tuple(PhysicalHost(address, "pi", "key") for address in addresses)
    return PhysicalResource(on, name, hosts, store, "", at(f"physical {name}", "physical_nodes.yaml"))


def annotations(name: str, **values: Any) -> Annotations:
    return Annotations(name, at(f"annotations {name}", "annotations.yaml"), **values)


def device(ram_mb: int, vram_mb: int = 0) -> DeviceConstraints:
    return DeviceConstraints(ram_mb, vram_mb, at("device", "annotations.yaml"))


def production(*parts: Component | Edge | NetworkDomain | Layer, **changes: Any) -> Production:
    """A deployment of these parts; layers without a domain are in ND1, a layer 1 is there if none is given."""
    components = {part.name: part for part in parts if isinstance(part, Component)}
    layers = tuple(part for part in parts if isinstance(part, Layer))
    domains = tuple(part for part in parts if isinstance(part, NetworkDomain))
    if layers or not domains:
        domains = (*domains, domain("ND1", *(layers or (layer(1),))))
    values: dict[str, Any] = {
        "name": "Application",
        "deployment_name": "",
        "domains": domains,
        "components": components,
        "dag": Dag(
            {name: at(f"{name} in the DAG", "application_dag.yaml") for name in components},
            tuple(part for part in parts if isinstance(part, Edge)),
        ),
        "place": at("System"),
        "name_place": at("System.name"),
    }
    return Production(**{**values, **changes})


def found(model: Production, summary: str = "") -> list[Diagnostic]:
    """What the checks find, of one kind or all."""
    return [d for d in check_production(model) if summary in ("", d.summary)]


def one(model: Production, summary: str) -> Diagnostic:
    """The only finding of its kind."""
    (diagnostic,) = found(model, summary)
    return diagnostic


def where(diagnostic: Diagnostic) -> str:
    """What stands at the place of a finding."""
    return diagnostic.location.text if diagnostic.location else ""
