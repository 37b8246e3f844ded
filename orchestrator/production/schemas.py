"""JSON Schemas of the input files, for editors: the canonical spelling, and what else is read, marked as deprecated."""

from __future__ import annotations

import json
from collections.abc import Callable

from orchestrator.production.schema_forms import Schema, with_definitions
from orchestrator.production.schemas_companions import (
    alternatives_schema,
    annotations_schema,
    containers_schema,
    dag_schema,
    env_schema,
    multi_cluster_qos_schema,
    partitions_schema,
    physical_nodes_schema,
    qos_schema,
)
from orchestrator.production.schemas_production import production_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SCHEMAS: dict[str, tuple[str, Callable[[], Schema]]] = {
    "production": ("production_deployment.yaml", production_schema),
    "candidate-resources": ("candidate_resources.yaml", production_schema),
    "candidate-deployments": ("candidate_deployments.yaml", production_schema),
    "dag": ("application_dag.yaml", dag_schema),
    "partitions": ("component_partitions.yaml", partitions_schema),
    "physical-nodes": ("physical_nodes.yaml", physical_nodes_schema),
    "qos": ("qos_constraints.yaml", qos_schema),
    "multi-cluster-qos": ("multi_cluster_qos_constraints.yaml", multi_cluster_qos_schema),
    "annotations": ("annotations.yaml", annotations_schema),
    "alternatives": ("alternative_workflows.yaml", alternatives_schema),
    "containers": ("containers.yaml", containers_schema),
    "env": ("env.yaml", env_schema),
}


def schema_names() -> dict[str, str]:
    """Name of each schema to the file that it describes."""
    return {name: title for name, (title, _) in _SCHEMAS.items()}


def render_schema(name: str) -> str:
    """A schema as JSON text.

    Raises:
        KeyError: If there is none of that name.
    """
    title, build = _SCHEMAS[name]
    return (
        json.dumps({"$schema": DIALECT, "title": title, **with_definitions(build())}, indent=2, ensure_ascii=False)
        + "\n"
    )
