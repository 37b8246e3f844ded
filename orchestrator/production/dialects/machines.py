"""The machines of a cluster in a template: the front end and the workers, virtual or physical."""

from __future__ import annotations

from typing import Any

from orchestrator.production.dialects.companions import Machine
from orchestrator.production.dialects.settings import Secrets
from orchestrator.production.dialects.sites import Site
from orchestrator.production.model import Accelerator, Resource
from orchestrator.production.os_version import render_version
from orchestrator.production.units import render_size

Tree = dict[str, Any]

KUBERNETES = "1.23.6"
KUBERNETES_ROLE = {"kube_role": {"file": "grycap.kubernetes,ai-sprint", "type": "tosca.artifacts.AnsibleGalaxy.role"}}

_COMPUTE = "tosca.nodes.indigo.Compute"
_PUBLIC, _PRIVATE = "pub_network", "priv_network"
_DNS_SERVICES = ("", "minio.", "console.minio.", "influx.")


def front_end(site: Site, secrets: Secrets) -> Tree:
    """The machine that the cluster is run from."""
    names = [
        {"concat": [*([service] if service else []), {"get_input": "cluster_name"}, "@", {"get_input": "domain_name"}]}
        for service in _DNS_SERVICES
    ]
    system: Tree = {"type": "linux"}
    host: Tree = {"num_cpus": {"get_input": "fe_cpus"}, "mem_size": {"get_input": "fe_mem"}}
    node: Tree = {
        "type": _COMPUTE,
        "capabilities": {
            "endpoint": {
                "properties": {"additional_dns_names": names, "dns_name": "kubeserver", "network_name": "PUBLIC"}
            },
            "host": {"properties": host},
            "os": {"properties": system},
        },
    }
    if site.is_physical:
        if site.facts.front is not None:
            system["credential"] = _credential(site, site.facts.front, "front", secrets)
        return node
    if site.placed.resource.system.image_id:
        system["image"] = {"get_input": "fe_os_image"}
    host["disk_size"] = {"get_input": "fe_disk"}
    node["requirements"] = [
        {
            "local_storage": {
                "node": "my_block_storage",
                "capability": "tosca.capabilities.Attachment",
                "relationship": {
                    "type": "tosca.relationships.AttachesTo",
                    "properties": {"device": "hdb", "location": "/pv"},
                },
            }
        }
    ]
    return node


def add_worker(nodes: Tree, site: Site, secrets: Secrets, *, is_elastic: bool) -> str:
    """Add the workers, and for physical machines their networks; gives the node that Kubernetes runs on them by."""
    if site.is_physical:
        _add_physical(nodes, site, secrets)
        return ""
    resource = site.placed.resource
    machines, name = f"wn_{resource.key}", f"wn_node_{resource.key}"
    nodes[machines] = _virtual_worker(resource, is_elastic=is_elastic)
    nodes[name] = _kubernetes_worker(resource, machines, is_elastic=is_elastic)
    return name


def _virtual_worker(resource: Resource, *, is_elastic: bool) -> Tree:
    capabilities: Tree = {
        "host": {"properties": _host(resource)},
        "os": {"properties": _system(resource)},
        "scalable": {"properties": {"count": resource.total_nodes}},
    }
    if is_elastic:
        capabilities["endpoint"] = {"properties": {"dns_name": "vnode-#N#.localdomain"}}
    return {"type": _COMPUTE, "capabilities": capabilities}


def _kubernetes_worker(resource: Resource, machines: str, *, is_elastic: bool = False) -> Tree:
    properties: Tree = {"front_end_ip": {"get_attribute": ["front", "private_address", 0]}, "version": KUBERNETES}
    if resource.gpus:
        properties["nvidia_support"] = True
    node: Tree = {
        "type": "tosca.nodes.indigo.LRMS.WorkerNode.Kubernetes",
        "artifacts": KUBERNETES_ROLE,
        "properties": properties,
        "requirements": [{"host": machines}],
    }
    if is_elastic:
        limits = {"max_instances": {"get_input": "max_wn_num"}, "min_instances": 0}
        node["capabilities"] = {"wn": {"properties": limits}}
    return node


def _host(resource: Resource) -> Tree:
    host: Tree = {
        "mem_size": f"{resource.memory_mb} MB",
        "num_cpus": resource.cores,
        "num_gpus": resource.gpus,
        "preemtible_instance": resource.spot,
        "sgx": resource.sgx,
    }
    if resource.storage_gb:
        host["disk_size"] = render_size(resource.storage_gb)
    if resource.system.image_id.startswith("aws://"):
        host["disk_type"] = "gp3"
    if resource.flavor:
        host["instance_type"] = resource.flavor
    graphics = [a for a in resource.accelerators if a.type.upper() == "GPU" and a.model]
    return host | (_graphics(graphics[0]) if graphics else {})


def _graphics(accelerator: Accelerator) -> Tree:
    vendor, _, model = accelerator.model.strip().partition(" ")
    return {"gpu_vendor": vendor} | ({"gpu_model": model.strip()} if model.strip() else {})


def _system(resource: Resource) -> Tree:
    system = {
        "type": "linux",
        "distribution": resource.system.distribution,
        "version": render_version(resource.system.version),
        "image": resource.system.image_id,
    }
    return {key: value for key, value in system.items() if value}


def _add_physical(nodes: Tree, site: Site, secrets: Secrets) -> None:
    """A node each, since each has its own address and key, on networks that are there."""
    for network, kind in ((_PUBLIC, "public"), (_PRIVATE, "private")):
        nodes[network] = {"type": "tosca.nodes.network.Network", "properties": {"network_type": kind}}
    front, resource = site.facts.front, site.placed.resource
    if front is not None:
        _add_port(nodes, "front", _PRIVATE, front.private_ip, 0)
        _add_port(nodes, "front", _PUBLIC, front.public_ip, 1)
    for number, machine in enumerate(site.facts.workers, start=1):
        name = f"wn_{resource.key}_{number}"
        system = _system(resource) | {"credential": _credential(site, machine, f"worker{number}", secrets)}
        host = {key: value for key, value in _host(resource).items() if key not in ("disk_size", "disk_type")}
        nodes[name] = {
            "type": _COMPUTE,
            "capabilities": {
                "host": {"properties": host},
                "os": {"properties": system},
                "scalable": {"properties": {"count": 1}},
            },
        }
        _add_port(nodes, name, _PRIVATE, machine.private_ip or machine.public_ip, 0)
        nodes[f"wn_node_{resource.key}_{number}"] = _kubernetes_worker(resource, name)


def _add_port(nodes: Tree, machine: str, network: str, address: str, order: int) -> None:
    if address:
        nodes[f"{machine}_{network}_port"] = {
            "type": "tosca.nodes.network.Port",
            "properties": {"order": order, "ip_address": address},
            "requirements": [{"binding": machine}, {"link": network}],
        }


def _credential(site: Site, machine: Machine, which: str, secrets: Secrets) -> Tree:
    entry = "fe_node" if which == "front" else f"wns[{int(which.removeprefix('worker')) - 1}]"
    source = f"{entry}.ssh_key of {site.placed.resource.name!r} in physical_nodes.yaml"
    token = secrets.given(f"{site.placed.machines}-{which}-ssh-key", source)
    return {"user": machine.user, "token_type": "private_key", "token": token}
