"""State → manifest → text."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import yaml

from orchestrator.cli.views.human import render_endpoints
from orchestrator.manifest.build import build_manifest
from orchestrator.manifest.model import ManifestStorePath
from orchestrator.manifest.render import render_manifest
from orchestrator.planning.substitution import Substitution
from orchestrator.state.model import InstanceRecord, Lifecycle, State


def record(address: str, inputs: dict[str, object], attributes: dict[str, object]) -> InstanceRecord:
    return InstanceRecord(address, address.partition("[")[0], "T", "", 1, Lifecycle.STARTED, inputs, attributes)  # type: ignore[arg-type]


RECORDS = [
    record("edge[0]", {}, {"host": "10.0.0.2", "hostname": "edge-0", "host_key": "ssh-ed25519 A"}),
    record(
        "edge-k3s",
        {"requirements.machine": ["edge[0]"]},
        {"kubeconfig": "kubeconfig/edge.yaml", "api_endpoint": "https://10.0.0.2:6443"},
    ),
    record(
        "edge-oscar",
        {"requirements.host": ["edge-k3s"], "properties.password": "secret:edge-oscar-password"},
        {"endpoint": "https://10.0.0.2:30301", "store_endpoint": "https://10.0.0.2:30300", "ca_cert": "PEM"},
    ),
    record("image-blur", {}, {"reference": "blur:1", "digest": "sha256:abc"}),
    record(
        "service-blur",
        {
            "requirements.host": ["edge-oscar"],
            "requirements.image": ["image-blur"],
            "properties.component": "blur",
            "properties.service": "blur",
            "properties.layer": 1,
        },
        {
            "endpoint": "https://10.0.0.2:30301/run/blur",
            "image_digest": "sha256:abc",
            "inputs": [{"store": "https://10.0.0.2:30300", "path": "blur/input"}],
            "outputs": [{"store": "https://10.0.0.2:30300", "path": "blur/output"}],
        },
    ),
]
STATE = State("demo", "lineage", 9, profile="local", instances={r.address: r for r in RECORDS})
MANIFEST = build_manifest(STATE, [Substitution("edge", "board", "container", "no board")], Path("/deploy/demo"))


def test_clusters_have_their_api_machines_and_layers() -> None:
    (cluster,) = MANIFEST.clusters
    assert (cluster.name, cluster.api_endpoint, cluster.layers) == ("edge-k3s", "https://10.0.0.2:6443", (1,))
    assert cluster.kubeconfig == "/deploy/demo/kubeconfig/edge.yaml"
    assert [(n.address, n.hostname, n.host) for n in cluster.nodes] == [("edge[0]", "edge-0", "10.0.0.2")]
    assert cluster.store_endpoint == "https://10.0.0.2:30300"


def test_components_have_their_cluster_image_and_paths() -> None:
    (component,) = MANIFEST.components
    assert (component.name, component.layer, component.cluster) == ("blur", 1, "edge-k3s")
    assert (component.image, component.image_digest) == ("blur:1", "sha256:abc")
    assert component.inputs == (ManifestStorePath("https://10.0.0.2:30300", "blur/input"),)


def test_the_three_forms_say_the_same() -> None:
    as_json = json.loads(render_manifest(MANIFEST, "json"))
    assert yaml.safe_load(render_manifest(MANIFEST, "yaml")) == as_json
    assert as_json["substitutions"] == [{"address": "edge", "what": "board", "by": "container", "why": "no board"}]
    lines = render_manifest(MANIFEST, "env").splitlines()
    variables = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    assert variables["COMPONENT_BLUR_ENDPOINT"] == "https://10.0.0.2:30301/run/blur"
    assert variables["CLUSTER_EDGE_K3S_NODES"] == "10.0.0.2"


def test_no_reference_to_a_secret_ends_up_in_it() -> None:
    assert "secret" not in render_manifest(MANIFEST, "json")


def test_a_cluster_that_has_to_do_without_a_machine_says_so() -> None:
    whole = dict(STATE.instances)
    whole["edge[1]"] = record("edge[1]", {}, {"hostname": "edge-1"})
    whole["edge-k3s"] = replace(
        whole["edge-k3s"],
        inputs={"requirements.machine": ["edge[0]", "edge[1]"]},
        attributes={**whole["edge-k3s"].attributes, "degraded": ["edge[1]"]},
    )
    manifest = build_manifest(replace(STATE, instances=whole), [], Path("/deploy/demo"))
    assert [n.state for n in manifest.clusters[0].nodes] == ["started", "unreachable"]
    assert manifest.clusters[0].unreachable == ("edge[1]",)
    assert "edge-k3s: 2 nodes (edge[1] unreachable), Kubernetes API" in render_endpoints(manifest)
    assert MANIFEST.clusters[0].unreachable == ()
