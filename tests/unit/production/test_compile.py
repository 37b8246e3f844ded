"""Everything that the model knows reaches the topology, which fits its types and does not depend on chance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.diagnostics import has_errors
from orchestrator.planning.desired_instances import check_profile
from orchestrator.planning.profile import load_profile
from orchestrator.production.clouds import function_cloud
from orchestrator.production.compile import compile_topology, node_places
from orchestrator.production.layout import find_layout
from orchestrator.production.load import Loaded, load_production
from orchestrator.production.model import Account, DriftDetection, Production, SecurityNeeds
from orchestrator.resources import data_path
from orchestrator.topology.dump import render_template
from orchestrator.topology.model import Topology, Value
from orchestrator.topology.second_opinion import ask_tosca_parser
from orchestrator.topology.types import shipped_types
from orchestrator.topology.validate import check_topology
from tests.unit.production.models import (
    annotations,
    at,
    component,
    constraint,
    device,
    domain,
    edge,
    edge_layer,
    function_layer,
    functions,
    gpu,
    layer,
    processor,
    production,
    resource,
)

GOLDEN = Path(__file__).parents[2] / "golden"


def compiled(model: Production) -> Topology:
    """The topology, which must fit its types and be accepted by tosca-parser."""
    layout = find_layout(Path("/nowhere/production.yaml"))
    topology, found = compile_topology(Loaded(model, (), layout.root, layout))
    assert not has_errors(found), found
    assert check_topology(topology, shipped_types()) == ()
    types = {"continuum.yaml": data_path("tosca", "types", "continuum.yaml").read_text(encoding="utf-8")}
    assert ask_tosca_parser(render_template(topology), types) == ()
    return topology


def policy(topology: Topology, name: str) -> tuple[str, tuple[str, ...], dict[str, Value]]:
    found = topology.policies[name]
    return found.type.rpartition(".")[2], found.targets, dict(found.properties)


def mixed() -> Production:
    """A board that sends to a function."""
    return production(
        edge_layer(1, resource("pi")),
        function_layer(2),
        component("a", resource="pi"),
        component("b", on=2, resource="lambda", memory_mb=2048),
        edge("a", "b"),
    )


# --------------------------------------------------------------------------------------------------- cloud functions


def test_cloud_functions_need_no_machines() -> None:
    topology = compiled(mixed())
    assert [name for name in topology.nodes if name.startswith("layer2")] == ["layer2-lambda-functions"]
    platform, service = topology.nodes["layer2-lambda-functions"], topology.nodes["service-b"]
    assert platform.type == "continuum.nodes.CloudFunctionPlatform"
    assert platform.properties == {
        "resource": "lambda",
        "layer": 2,
        "provider": "aws",
        "region": "eu-west-1",
        "architecture": "amd64",
    }
    assert (service.type, service.properties["memory_mb"]) == ("continuum.nodes.CloudFunction", 2048)
    assert [r.node for r in service.requirements] == ["layer2-lambda-functions", "image-b"]
    assert topology.groups["layer-2"].members == ("layer2-lambda-functions", "service-b")
    assert policy(topology, "cost-layer2-lambda-functions") == (
        "FunctionUse",
        ("layer2-lambda-functions",),
        {"transition_cost": 0.1, "idle_time": 300.0},
    )
    assert policy(topology, "scaling-layer2-lambda-functions")[2] == {"min_instances": 0, "max_instances": 2}


@pytest.mark.parametrize(
    ("image_id", "accounts", "cloud"),
    [
        ("", (), "aws"),
        ("azure://x", ("Lambda",), "azure"),
        ("", ("OpenStack", "Lambda"), "aws"),
        ("", ("Azure",), "azure"),
        ("ost://h/1", (), "aws"),
    ],
)
def test_the_cloud_of_functions(image_id: str, accounts: tuple[str, ...], cloud: str) -> None:
    known = [Account(kind, kind, "", at(kind)) for kind in accounts]
    assert function_cloud(functions(image_id=image_id), known) == cloud


@pytest.mark.parametrize("profile", ["production", "local"])
def test_profiles_say_that_nothing_makes_cloud_functions_and_where_they_stand(profile: str) -> None:
    model = mixed()
    topology = compiled(model)
    (error,) = check_profile(topology, shipped_types(), load_profile(profile), {}, node_places(model))
    assert error.summary == "No provider makes cloud functions."
    assert "lambda" in error.detail
    assert error.location == model.layers[1].resources[0].place


@pytest.mark.parametrize(
    ("image_id", "summary"),
    [("azr://x", "No provider makes these machines."), ("ami-1", "No cloud is named."),
     ("", "No cloud is named."), ("ost://h/1", None)],
)  # fmt: skip
def test_machines_that_nothing_makes_are_refused_for_production(image_id: str, summary: str | None) -> None:
    topology = compiled(production(layer(1, resource(image_id=image_id)), component("a")))
    found = check_profile(topology, shipped_types(), load_profile("production"), {})
    assert [d.summary for d in found] == ([summary] if summary else [])


# ---------------------------------------------------------------------------------------------------------- machines


def test_everything_about_machines_is_there() -> None:
    machine = resource(
        image_id="aws://eu-central-1/ami-1", flavor="g4dn.xlarge", spot=True, secure_boot=True, measured_boot=True,
        storage_gb=64.0, storage_type="SSD", cost=0.5, processors=(processor(sgx=True),),
        accelerators=(gpu("NVIDIA Tesla T4", 2, 16.0),), description="A GPU machine",
    )  # fmt: skip
    topology = compiled(production(layer(1, machine), component("a")))
    node = topology.nodes["layer1-vm"]
    assert (node.type, node.description) == ("continuum.nodes.VirtualMachine", "A GPU machine")
    assert node.properties == {
        "resource": "vm",
        "layer": 1,
        "num_gpus": 2,
        "gpu_vendor": "NVIDIA",
        "gpu_model": "Tesla T4",
        "gpu_memory_mb": 16384,
        "sgx": True,
        "secure_boot": True,
        "measured_boot": True,
        "storage_type": "SSD",
        "image_id": "aws://eu-central-1/ami-1",
        "flavor": "g4dn.xlarge",
        "spot": True,
    }
    assert node.capabilities["host"] == {"num_cpus": 4, "mem_size": "8192 MB", "disk_size": "64 GB"}
    assert policy(topology, "scaling-layer1-vm") == (
        "Scaling",
        ("layer1-vm",),
        {"min_instances": 2, "max_instances": 2},
    )
    assert policy(topology, "cost-layer1-vm") == ("Cost", ("layer1-vm",), {"cost_per_hour": 0.5})


def test_components_on_one_resource_share_one_cluster() -> None:
    topology = compiled(production(*(component(name) for name in "abc")))
    types = [node.type.rpartition(".")[2] for node in topology.nodes.values()]
    assert types == ["VirtualMachine", "K3sCluster", "Oscar", *["ComponentImage"] * 3, *["OscarService"] * 3]


# ---------------------------------------------------------------------------------------------------------- policies


def test_what_the_code_asks_for_becomes_policies() -> None:
    drift = DriftDetection("accuracy", "score", "ks", 0.05, "1h", "1d", "7d")
    asked = annotations(
        "a", throughput=5.0, performance=("accuracy", 0.9), device=device(256, 0), early_exits=(0.3, 0.7), drift=drift,
        security=SecurityNeeds(network_shield=True),
    )  # fmt: skip
    topology = compiled(production(component("a"), annotations={"a": asked}))
    service = ("service-a",)
    assert policy(topology, "throughput-a") == ("Throughput", service, {"requests_per_second": 5.0})
    assert policy(topology, "performance-a") == (
        "ModelPerformance",
        service,
        {"metric": "accuracy", "threshold": 0.9},
    )
    assert policy(topology, "device-a") == ("DeviceConstraints", service, {"memory_mb": 256, "video_memory_mb": 0})
    assert policy(topology, "early-exits-a") == ("EarlyExits", service, {"probabilities": [0.3, 0.7]})
    assert policy(topology, "drift-a")[2] == {
        "metric": "accuracy",
        "field": "score",
        "statistical_test": "ks",
        "test_threshold": 0.05,
        "detection_interval": "1h",
        "monitoring_period": "1d",
        "data_collection_period": "7d",
    }
    assert policy(topology, "security-a")[2]["asked"] == ["network_shield"]


def test_early_exits_are_probabilities_of_the_ways_on() -> None:
    parts = [component(name) for name in ("a_partition1_1", "a_partition1_2", "b")]
    edges = [edge("a_partition1_1", "a_partition1_2", 0.8), edge("a_partition1_1", "b", 0.2)]
    exits = {"a": annotations("a", early_exits=(0.2, 0.8), throughput=1.0)}
    topology = compiled(production(*parts, *edges, annotations=exits))
    first = topology.nodes["service-a-partition1-1"]
    ways = [(r.node, r.properties) for r in first.requirements if r.name == "connects_to"]
    assert ways == [("service-a-partition1-2", {"probability": 0.8}), ("service-b", {"probability": 0.2})]
    segments = ("service-a-partition1-1", "service-a-partition1-2")
    assert policy(topology, "early-exits-a") == ("EarlyExits", segments, {"probabilities": [0.2, 0.8]})
    assert policy(topology, "throughput-a") == ("Throughput", segments, {"requests_per_second": 1.0})


def test_constraints_carry_their_layer_and_the_segments_of_their_way() -> None:
    parts = [component(name) for name in ("a_partition1_1", "a_partition1_2", "b")]
    edges = [edge("a_partition1_1", "a_partition1_2"), edge("a_partition1_2", "b")]
    constraints = (
        constraint("a", is_global=False, layer=2, key="local_1"),
        constraint("a", "b", key="global_1"),
        constraint("b", is_global=False, key="local_1"),
        constraint("nowhere", is_global=False, key="lost"),
    )
    topology = compiled(production(*parts, *edges, constraints=constraints))
    segments = ["a_partition1_1", "a_partition1_2"]
    kind, targets, properties = policy(topology, "qos-layer2-local-1")
    assert (kind, properties) == ("GlobalQos", {"path": segments, "threshold": 10.0, "execution_layer": 2})
    assert targets == ("service-a-partition1-1", "service-a-partition1-2")
    assert policy(topology, "qos-global-1")[2] == {"path": [*segments, "b"], "threshold": 10.0}
    assert policy(topology, "qos-local-1") == ("LocalQos", ("service-b",), {"threshold": 10.0})
    assert not any("lost" in name for name in topology.policies)


def test_times_of_annotations_count_where_no_file_sets_them() -> None:
    asked = {
        "a": annotations("a", local_time=2.0),
        "b": annotations("b", local_time=3.0, global_time=9.0, previous=("a",)),
    }
    parts = [component("a"), component("b"), edge("a", "b")]
    topology = compiled(production(*parts, annotations=asked, constraints=(constraint("a", is_global=False),)))
    times = {name: p.properties["threshold"] for name, p in topology.policies.items() if name.startswith("qos")}
    assert times == {"qos-c1": 10.0, "qos-annotated-b": 3.0, "qos-annotated-b-2": 9.0}


def test_network_domains_are_groups_of_what_is_in_them() -> None:
    model = production(
        domain("ND1", edge_layer(1), sub=("ND2",)),
        domain("ND2", layer(2, domain="ND2"), function_layer(3, domain="ND2")),
        component("a"),
        component("b", on=2),
        component("c", on=3, resource="lambda"),
    )
    topology = compiled(model)
    assert topology.groups["domain-nd1"].properties["sub_domains"] == ["ND2"]
    assert topology.groups["domain-nd2"].members == ("layer2-vm", "layer3-lambda-functions")


def test_the_chosen_workflow_is_named() -> None:
    assert "workflow 'fast'" in compiled(production(component("a"), alternative="fast")).description
    assert "workflow" not in compiled(production(component("a"))).description


# -------------------------------------------------------------------------------------------------------- same bytes

PROGRAM = """
import sys
from pathlib import Path
from orchestrator.production.compile import compile_topology
from orchestrator.production.load import load_production
from orchestrator.topology.dump import render_template
topology, found = compile_topology(load_production(Path(sys.argv[1])))
sys.stdout.write(render_template(topology) + "".join(f"{d.summary} {d.location}\\n" for d in found))
"""


@pytest.mark.parametrize("case", ["fork-and-join", "predecessor-deployment1"])
def test_two_processes_write_the_same_bytes(case: str) -> None:
    outputs = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(GOLDEN / case / "production.yaml")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        outputs.add(done.stdout)
    (output,) = outputs
    assert output.startswith(b"tosca_definitions_version")


def _turned_around(node: Any) -> Any:
    """Mappings with their keys in the opposite order, but for those whose order has a meaning."""
    if isinstance(node, dict):
        ordered = ("Components", "NetworkDomains", "ComputationalLayers", "Resources", "processors", "accelerators")
        turned = {key: _turned_around(value) for key, value in node.items()}
        for key in ordered:
            if isinstance(turned.get(key), dict):
                turned[key] = dict(reversed(turned[key].items()))
        return dict(reversed(turned.items()))
    return [_turned_around(item) for item in node] if isinstance(node, list) else node


def test_comments_and_the_order_of_keys_change_no_byte(tmp_path: Path) -> None:
    folder = GOLDEN / "fork-and-join"
    for name in ("application_dag.yaml", "qos_constraints.yaml"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    content = yaml.safe_load((folder / "production.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump(_turned_around(content), sort_keys=False, allow_unicode=True)
    assert text.index("Components") < text.index("NetworkDomains")
    path = tmp_path / "production.yaml"
    path.write_text(text.replace("\n", "  # a comment\n", 1) + "# the end\n", encoding="utf-8")
    topology, _ = compile_topology(load_production(path))
    assert render_template(topology) == (folder / "topology.yaml").read_text(encoding="utf-8")
