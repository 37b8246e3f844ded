"""Compiles resources: machines with a cluster and OSCAR on them, or the functions of a cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.production.clouds import function_cloud
from orchestrator.production.model import Accelerator, Layer, LayerType, Production, Resource
from orchestrator.production.naming import resource_node, sanitise
from orchestrator.production.os_version import render_version
from orchestrator.production.physical import PhysicalHost, PhysicalResource
from orchestrator.production.placement import Placed, is_cloud_functions, platform_node
from orchestrator.production.units import render_size
from orchestrator.topology.model import NodeTemplate, Requirement, Value

_SSH_PORT = 22
_EXPOSED_PORT = 443
"""Where the ingress of a cluster answers, which a component is exposed by."""

HOSTED_ON = "tosca.relationships.HostedOn"

_MACHINES = {
    LayerType.VIRTUAL: "continuum.nodes.VirtualMachine",
    LayerType.PHYSICAL_TO_BE_PROVISIONED: "continuum.nodes.PhysicalMachine",
    LayerType.PHYSICAL_ALREADY_PROVISIONED: "continuum.nodes.ExistingMachine",
}


def compile_resource(
    layer: Layer, resource: Resource, model: Production, running: Sequence[Placed] = ()
) -> tuple[NodeTemplate, ...]:
    """The nodes of a resource, from the ground up; one cluster, however many components run there."""
    if is_cloud_functions(layer):
        return (_cloud_functions(layer, resource, model),)
    physical = physical_of(model, layer, resource)
    machines = _machines(layer, resource, physical, running)
    cluster = _cluster(layer, resource, physical)
    return machines, cluster, _oscar(layer, resource, cluster.name, physical)


def physical_of(model: Production, layer: Layer, resource: Resource) -> tuple[PhysicalResource, ...]:
    """What is said about the physical machines of a resource."""
    name = resource.name.casefold()
    return tuple(p for p in model.physical if p.layer == layer.number and p.name.casefold() == name)


def _machines(
    layer: Layer, resource: Resource, physical: tuple[PhysicalResource, ...], running: Sequence[Placed]
) -> NodeTemplate:
    properties: dict[str, Value] = {"resource": resource.name, "layer": layer.number}
    properties.update(_graphics(resource))
    flags = (("sgx", resource.sgx), ("secure_boot", resource.secure_boot), ("measured_boot", resource.measured_boot))
    properties.update({key: True for key, value in flags if value})
    if resource.storage_type:
        properties["storage_type"] = resource.storage_type
    if layer.type is LayerType.VIRTUAL:
        texts = (("image_id", resource.system.image_id), ("flavor", resource.flavor))
        properties.update({key: value for key, value in texts if value})
        if resource.spot:
            properties["spot"] = True
        if any(placed.component.container.expose for placed in running):
            properties["public_ports"] = [_EXPOSED_PORT]
    else:
        hosts = _hosts(resource, physical)
        if hosts:
            properties["hosts"] = hosts
    return NodeTemplate(
        name=resource_node(layer.number, resource.name),
        type=_MACHINES[layer.type],
        description=resource.description,
        properties=properties,
        capabilities=_capabilities(resource),
    )


def _graphics(resource: Resource) -> dict[str, Value]:
    """Number, make and memory of the graphics processors; of several kinds the first is described."""
    if not resource.gpus:
        return {}
    properties: dict[str, Value] = {"num_gpus": resource.gpus}
    first = next(a for a in resource.accelerators if a.type.upper() == "GPU")
    vendor, model = vendor_and_model(first)
    properties.update({key: text for key, text in (("gpu_vendor", vendor), ("gpu_model", model)) if text})
    if first.memory_gb:
        properties["gpu_memory_mb"] = round(first.memory_gb * 1024)
    return properties


def vendor_and_model(accelerator: Accelerator) -> tuple[str, str]:
    """``NVIDIA``, ``T4`` from the ``NVIDIA T4`` of the file; a single word is taken for the vendor."""
    vendor, _, model = accelerator.model.strip().partition(" ")
    return vendor, model.strip()


def _hosts(resource: Resource, physical: tuple[PhysicalResource, ...]) -> list[Value]:
    return [_host(host) for found in physical for host in found.hosts[: resource.total_nodes]]


def _host(host: PhysicalHost) -> Value:
    """How to reach a machine; what is as usual is left out."""
    more = {
        "port": str(host.port) if host.port != _SSH_PORT else "",
        "jump": host.jump,
        "become_password": host.become_password,
        "key_passphrase": host.key_passphrase,
        "host_key": host.host_key,
    }
    told: dict[str, Value] = {"host": host.address, "user": host.user, "key_file": host.key_file}
    return told | {key: value for key, value in more.items() if value}


def _capabilities(resource: Resource) -> Mapping[str, Mapping[str, Value]]:
    host: dict[str, Value] = {"num_cpus": resource.cores, "mem_size": f"{resource.memory_mb} MB"}
    if resource.storage_gb:
        host["disk_size"] = render_size(resource.storage_gb)
    system: dict[str, Value] = {"architecture": resource.architecture}
    texts = (
        ("type", resource.system.type),
        ("distribution", resource.system.distribution),
        ("version", render_version(resource.system.version)),
    )
    system.update({key: value for key, value in texts if value})
    count = resource.total_nodes
    scalable: dict[str, Value] = {"min_instances": count, "max_instances": count, "default_instances": count}
    return {"host": host, "os": system, "scalable": scalable}


def _cluster(layer: Layer, resource: Resource, physical: tuple[PhysicalResource, ...]) -> NodeTemplate:
    machines = resource_node(layer.number, resource.name)
    existing = layer.type is LayerType.PHYSICAL_ALREADY_PROVISIONED
    properties: dict[str, Value] = {
        "cluster_name": machines,
        "token": f"secret:{machines}-k3s-token",
        "node_labels": {
            "continuum/layer": str(layer.number),
            "continuum/resource": sanitise(resource.name),
        },
    }
    servers = sum(host.is_server for found in physical for host in found.hosts[: resource.total_nodes])
    if servers > 1 and not existing:
        properties["servers"] = servers
    for access in (found.cluster for found in physical if existing):
        texts = (
            ("kubeconfig", access.kubeconfig),
            ("context", access.context),
            ("endpoint", access.endpoint),
            ("ca_cert", access.ca_cert),
            ("api_token", access.token),
            ("wanted_version", access.version),
        )
        properties.update({key: text for key, text in texts if text})
    return NodeTemplate(
        name=f"{machines}-k3s",
        type="continuum.nodes.ExistingK3sCluster" if existing else "continuum.nodes.K3sCluster",
        properties=properties,
        requirements=(Requirement("machine", machines, HOSTED_ON),),
    )


def _oscar(layer: Layer, resource: Resource, cluster: str, physical: tuple[PhysicalResource, ...]) -> NodeTemplate:
    name = platform_node(layer, resource)
    existing = layer.type is LayerType.PHYSICAL_ALREADY_PROVISIONED
    properties: dict[str, Value] = {
        "cluster_name": resource_node(layer.number, resource.name),
        "password": f"secret:{name}-password",
        "store_secret_key": f"secret:{name}-store-key",
    }
    for found in physical if existing else ():
        access = found.oscar
        texts = (
            ("store_endpoint", found.store_endpoint),
            ("endpoint", access.endpoint),
            ("user", access.user),
            ("password", access.password),
            ("ca_cert", access.ca_cert),
            ("store_access_key", access.access_key),
            ("store_secret_key", access.secret_key),
        )
        properties.update({key: text for key, text in texts if text})
    kind = "continuum.nodes.ExistingOscar" if existing else "continuum.nodes.Oscar"
    return NodeTemplate(name, kind, properties, requirements=(Requirement("host", cluster, HOSTED_ON),))


def _cloud_functions(layer: Layer, resource: Resource, model: Production) -> NodeTemplate:
    properties: dict[str, Value] = {
        "resource": resource.name,
        "layer": layer.number,
        "provider": function_cloud(resource, model.accounts),
    }
    if resource.functions is not None and resource.functions.region:
        properties["region"] = resource.functions.region
    properties["architecture"] = resource.architecture
    return NodeTemplate(
        name=platform_node(layer, resource),
        type="continuum.nodes.CloudFunctionPlatform",
        description=resource.description,
        properties=properties,
    )
