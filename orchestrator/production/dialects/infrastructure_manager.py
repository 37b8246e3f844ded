"""Builds one template per component in the Infrastructure Manager's dialect of TOSCA 1.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.production.dialects.cluster import oscar_cluster
from orchestrator.production.dialects.sites import Site
from orchestrator.production.dialects.wiring import Wiring

Tree = dict[str, Any]

DEFINITIONS_VERSION = "tosca_simple_yaml_1_0"
FUNCTION = "tosca.nodes.aisprint.FaaS.Function"


def build_templates(wiring: Wiring) -> Mapping[str, Tree]:
    """The template of each component, by its name, in the order of the graph."""
    return {name: _template(name, site, wiring) for name, site in wiring.sites.items()}


def _template(name: str, site: Site, wiring: Wiring) -> Tree:
    topology = oscar_cluster(site, wiring) if site.is_made else {"inputs": _inputs(site, wiring), "node_templates": {}}
    function: Tree = {"type": FUNCTION, "properties": wiring.service(name)}
    if site.is_made:
        function["requirements"] = [{"host": "oscar"}]
    node = f"lambda_function_{name}" if site.is_functions else f"oscar_service_{name}"
    topology["node_templates"][node] = function
    if not site.is_functions:
        topology.setdefault("outputs", {}).update(
            oscar_service_url={"value": {"get_attribute": [node, "endpoint"]}},
            oscar_service_cred={"value": {"get_attribute": [node, "credential"]}},
        )
    template: Tree = {
        "tosca_definitions_version": DEFINITIONS_VERSION,
        "imports": [{"grycap_custom_types": wiring.settings.types_url}],
        "metadata": {"infra_name": f"OSCAR {name}"},
        "topology_template": topology,
    }
    if site.is_made:
        template["description"] = "Template for launching an OSCAR Virtual Cluster"
    return template


def _inputs(site: Site, wiring: Wiring) -> Tree:
    """Inputs where nothing is made: the name of the cluster, and where measurements go if there is a place."""
    inputs: Tree = {"cluster_name": {"type": "string", "default": site.cluster}}
    if site.is_functions or (wiring.top is not None and wiring.top is not site):
        top = wiring.measurements(site)
        values = {"bucket": top.bucket, "org": top.organisation, "token": top.token, "url": top.url}
        inputs |= {f"top_influx_{key}": {"type": "string", "default": value} for key, value in values.items()}
    return inputs
