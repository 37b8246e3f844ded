"""Every exported template fits the Infrastructure Manager's types, as tosca-parser and our own look see it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.production.compile import compile_topology
from orchestrator.production.dialects.export import export
from orchestrator.production.dialects.settings import ExportSettings
from orchestrator.production.load import load_production

TESTS = Path(__file__).parents[3]
TYPES: dict[str, Any] = yaml.safe_load(
    (TESTS / "fixtures" / "tosca-types" / "grycap_custom_types.yaml").read_text(encoding="utf-8")
)
API: dict[str, Any] = yaml.safe_load((TESTS / "fixtures" / "oscar-api" / "api_v3.0.0.yaml").read_text(encoding="utf-8"))
EVERY_LAYER = TESTS / "golden" / "dialects" / "every-layer" / "production.yaml"
DEPLOYMENTS = TESTS / "fixtures" / "predecessor" / "app_demo" / "aisprint" / "deployments"
CASES = {
    "every-layer": (EVERY_LAYER, ExportSettings()),
    "every-layer-elastic": (
        TESTS / "golden" / "dialects" / "every-layer" / "production.yaml",
        ExportSettings(elastic=7),
    ),
    "base": (DEPLOYMENTS / "base" / "production_deployment.yaml", ExportSettings()),
    "split": (DEPLOYMENTS / "deployment1" / "production_deployment.yaml", ExportSettings()),
    "gpu-spot-flavour": (TESTS / "golden" / "gpu-spot-flavour" / "production.yaml", ExportSettings()),
}


def exported(case: str, dialect: str) -> dict[str, Any]:
    path, settings = CASES[case]
    loaded = load_production(path)
    topology, _ = compile_topology(loaded)
    found = export(loaded, topology, dialect, settings)
    assert found.files, found.diagnostics
    return {name: yaml.safe_load(text) for name, text in found.files.items()}


@pytest.fixture
def silent_parser() -> Iterator[None]:
    logger = logging.getLogger("tosca")
    handler = logging.NullHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def accepted(template: dict[str, Any]) -> set[str]:
    """Names of the nodes that tosca-parser reads; raises if it refuses."""
    from toscaparser.tosca_template import ToscaTemplate

    whole = {key: value for key, value in template.items() if key != "imports"}
    whole |= {key: value for key, value in TYPES.items() if key.endswith("_types")}
    return {node.name for node in ToscaTemplate(yaml_dict_tpl=whole).nodetemplates}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("silent_parser")
def test_tosca_parser_accepts_every_template(case: str) -> None:
    for name, template in exported(case, "im").items():
        assert accepted(template) == set(template["topology_template"]["node_templates"]), name


@pytest.mark.usefixtures("silent_parser")
def test_tosca_parser_refuses_what_the_types_do_not_have() -> None:
    template = exported("base", "im")["mask-detector.yaml"]
    nodes = template["topology_template"]["node_templates"]
    nodes["oscar_service_mask-detector"]["properties"]["ExposeService"] = True
    with pytest.raises(Exception, match="ExposeService"):
        accepted(template)


def properties_of(kind: str, section: str = "node_types") -> set[str]:
    """Properties of a type and what it derives from, as far as the Infrastructure Manager's types define it."""
    found: set[str] = set()
    while kind in TYPES[section]:
        definition = TYPES[section][kind]
        found |= set(definition.get("properties", {}))
        kind = definition["derived_from"]
    return found


@pytest.mark.parametrize("case", CASES)
def test_every_property_of_a_function_is_one_of_its_type(case: str) -> None:
    known = properties_of("tosca.nodes.aisprint.FaaS.Function")
    paths = properties_of("tosca.datatypes.oscar.StorageIOConfig", "data_types")
    for template in exported(case, "im").values():
        for node in template["topology_template"]["node_templates"].values():
            if node["type"] == "tosca.nodes.aisprint.FaaS.Function":
                assert set(node["properties"]) <= known
                for entry in (*node["properties"]["input"], *node["properties"]["output"]):
                    assert set(entry) <= paths
                    assert all(isinstance(value, str) for value in entry.values())


@pytest.mark.parametrize("case", CASES)
def test_every_service_fits_oscars_interface(case: str) -> None:
    schema = {"$ref": "#/components/schemas/Service", "components": API["components"]}
    entries = exported(case, "fdl")["fdl.yaml"]["functions"].get("oscar", [])
    assert entries
    for entry in entries:
        for service in entry.values():
            jsonschema.validate(service, schema)
            assert len(service["name"]) <= 39


def test_oscars_interface_refuses_a_suffix_that_is_no_list() -> None:
    schema = {"$ref": "#/components/schemas/Service", "components": API["components"]}
    ((_, service),) = exported("base", "fdl")["fdl.yaml"]["functions"]["oscar"][0].items()
    service["output"][0]["suffix"] = "_NO_DRIFT"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(service, schema)


def test_machines_have_what_the_resource_says() -> None:
    nodes = exported("every-layer-elastic", "im")["detect.yaml"]["topology_template"]["node_templates"]
    capabilities = nodes["wn_resource1"]["capabilities"]
    assert capabilities["host"]["properties"] == {
        "disk_size": "450 GB",
        "disk_type": "gp3",
        "gpu_model": "Tesla V100",
        "gpu_vendor": "NVIDIA",
        "instance_type": "p3.2xlarge",
        "mem_size": "32768 MB",
        "num_cpus": 8,
        "num_gpus": 2,
        "preemtible_instance": True,
        "sgx": False,
    }
    assert capabilities["os"]["properties"]["version"] == "22.10"
    assert nodes["wn_node_resource1"]["properties"]["nvidia_support"] is True
    function = nodes["oscar_service_detect"]["properties"]
    assert function["enable_gpu"] is True
    assert function["exposed"]["port"] == "80"
    assert nodes["elastic_cluster_front_end"]["requirements"] == [
        {"host": "front"},
        {"lrms": "lrms_front_end"},
        {"wn": "wn_node_resource1"},
    ]


def test_physical_machines_are_entered_by_address_user_and_key() -> None:
    nodes = exported("every-layer-elastic", "im")["guard.yaml"]["topology_template"]["node_templates"]
    ports = {name: node["properties"] for name, node in nodes.items() if node["type"] == "tosca.nodes.network.Port"}
    assert ports == {
        "front_priv_network_port": {"ip_address": "192.0.2.10", "order": 0},
        "front_pub_network_port": {"ip_address": "198.51.100.10", "order": 1},
        "wn_resource1_1_priv_network_port": {"ip_address": "192.0.2.11", "order": 0},
        "wn_resource1_2_priv_network_port": {"ip_address": "192.0.2.12", "order": 0},
    }
    for name, secret in (("front", "front"), ("wn_resource1_1", "worker1"), ("wn_resource1_2", "worker2")):
        assert nodes[name]["capabilities"]["os"]["properties"]["credential"] == {
            "user": "ubuntu",
            "token_type": "private_key",
            "token": f"secret:layer2-rack-{secret}-ssh-key",
        }
    assert "my_block_storage" not in nodes
    assert "elastic_cluster_front_end" not in nodes
    assert nodes["oscar_service_guard"]["properties"]["enable_sgx"] is True


def test_after_a_fork_all_measurements_meet_in_one_place() -> None:
    templates = exported("every-layer", "im")
    top = templates["detect.yaml"]["topology_template"]["inputs"]
    address = f"https://influx.{top['cluster_name']['default']}.{top['domain_name']['default']}"
    for name in ("sense", "guard", "sum-up", "notify", "archive"):
        inputs = templates[f"{name}.yaml"]["topology_template"]["inputs"]
        assert inputs["top_influx_url"]["default"] == address, name
        assert inputs["top_influx_token"]["default"] == top["local_influx_token"]["default"], name
    assert top["top_influx_url"]["default"] == "https://influx.oncloudandheat.com/"
    assert top["top_influx_token"]["default"] == ""


def test_every_service_knows_its_resource() -> None:
    found = {}
    for template in exported("every-layer", "im").values():
        for node in template["topology_template"]["node_templates"].values():
            if node["type"] == "tosca.nodes.aisprint.FaaS.Function":
                variables = node["properties"]["env_variables"]
                found[variables["COMPONENT_NAME"]] = variables["RESOURCE_ID"]
    assert found == {
        "sense": "Gateway",
        "guard": "Rack",
        "detect": "Graphics",
        "sum-up": "Graphics",
        "notify": "AWS Lambda",
        "archive": "AWS Lambda",
    }
