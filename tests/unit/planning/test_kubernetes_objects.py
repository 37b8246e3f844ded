"""A node type without Python: Kubernetes objects in a template become plays with their inputs."""

from __future__ import annotations

from orchestrator.planning.desired_instances import desired_instances
from orchestrator.planning.profile import load_profile
from orchestrator.topology.parse import parse_template
from orchestrator.topology.types import shipped_types
from orchestrator.topology.validate import check_topology

TEMPLATE = """\
tosca_definitions_version: tosca_simple_yaml_1_3
metadata: {template_name: broker}
imports: [continuum.yaml]
topology_template:
  node_templates:
    board:
      type: continuum.nodes.PhysicalMachine
      properties: {resource: board, layer: 1}
      capabilities:
        scalable: {properties: {min_instances: 1, max_instances: 1, default_instances: 1}}
        os: {properties: {architecture: arm64}}
    cluster:
      type: continuum.nodes.K3sCluster
      properties: {cluster_name: cluster, token: "secret:cluster-token"}
      requirements: [machine: board]
    broker:
      type: continuum.nodes.KubernetesObjects
      properties:
        name: broker
        timeout: 120
        files: [manifests/broker.yaml]
        objects:
          - apiVersion: v1
            kind: Secret
            metadata: {name: broker}
            stringData: {password: "secret:broker-password"}
          - apiVersion: helm.cattle.io/v1
            kind: HelmChart
            metadata: {name: broker, namespace: kube-system}
            spec: {chart: broker, version: 1.2.3}
      requirements: [host: cluster]
"""


def test_objects_are_put_into_the_cluster_after_it_and_taken_away_before() -> None:
    parsed = parse_template(TEMPLATE, "t.yaml")
    assert parsed.topology is not None, parsed
    assert [finding.detail for finding in check_topology(parsed.topology, shipped_types())] == []
    instances, _ = desired_instances(parsed.topology, shipped_types(), load_profile("production"), {})
    broker = instances["broker"]
    assert broker.dependencies == ("cluster",)
    assert {name: operation.file for name, operation in broker.operations.items()} == {
        "configure": "playbooks/objects.yml",
        "delete": "playbooks/objects_remove.yml",
    }
    inputs = broker.operations["configure"].inputs
    assert (inputs["k3s_objects_name"], inputs["k3s_objects_timeout"]) == ("broker", 120)
    assert inputs["k3s_objects_files"] == ["manifests/broker.yaml"]
    listed = inputs["k3s_objects_list"]
    assert isinstance(listed, list)
    assert isinstance(listed[0], dict)
    assert listed[0]["stringData"] == {"password": "secret:broker-password"}
    assert "k3s_objects_list" not in broker.operations["delete"].inputs


def test_a_rehearsal_says_that_no_pods_run() -> None:
    parsed = parse_template(TEMPLATE, "t.yaml")
    assert parsed.topology is not None
    options = {"engine_architecture": "arm64"}
    _, substitutions = desired_instances(parsed.topology, shipped_types(), load_profile("local"), options)
    assert [s.what for s in substitutions if s.address == "broker"] == ["pods of the objects broker"]
