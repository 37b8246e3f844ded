"""Exports of the predecessor's sample application are what its own tests expect, but for the listed corrections."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.production.compile import compile_topology
from orchestrator.production.dialects.export import export
from orchestrator.production.dialects.settings import ExportSettings
from orchestrator.production.load import load_production
from tests.golden.dialects.predecessor import Comparison, corrected, expected

APPLICATION = Path(__file__).parents[2] / "fixtures" / "predecessor" / "app_demo"
DRIFT = "components:\n  drift-detector:\n    docker_images: ['docker.io/micafer/drift-detector_main_amd64:latest']\n"

ADDED = {"MONIT_PROTOCOL": "udp"}
OF_MASK_DETECTOR = {"ENV_VAR1": "some_value", "ENV_VAR2": "10000"}
"""What its env.yaml holds."""

BASE = {"blurry-faces-onnx": "RaspPi", "mask-detector": "VM1"}
SPLIT = {"blurry-faces-onnx_partition1_1": "RaspPi", "blurry-faces-onnx_partition1_2": "VM1", "mask-detector": "VM3"}


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """The application with the image list that the predecessor's tests have beside it."""
    folder = tmp_path / "app_demo"
    shutil.copytree(APPLICATION, folder)
    (folder / "aisprint" / "designs" / "containers.yaml").write_text(DRIFT, encoding="utf-8")
    return folder / "aisprint" / "deployments"


def exported(production: Path, dialect: str, settings: ExportSettings | None = None) -> dict[str, Any]:
    loaded = load_production(production)
    topology, _ = compile_topology(loaded)
    found = export(loaded, topology, dialect, settings)
    assert found.files, found.diagnostics
    return {name.removesuffix(".yaml"): yaml.safe_load(text) for name, text in found.files.items()}


def environment(component: str, resources: dict[str, str]) -> dict[str, str]:
    own = OF_MASK_DETECTOR if component == "mask-detector" else {}
    return ADDED | own | {"RESOURCE_ID": resources[component]}


def same_templates(
    ours: dict[str, Any], resources: dict[str, str], files: dict[str, str], comparison: Comparison
) -> None:
    assert list(ours) == list(resources)
    for component, file in files.items():
        theirs = corrected(expected(file), environment(component, resources))
        comparison.same(ours[component], theirs, component)


def test_base_deployment(application: Path) -> None:
    ours = exported(application / "base" / "production_deployment.yaml", "im")
    same_templates(ours, BASE, {name: name for name in BASE}, Comparison(distinct=False))


def test_split_deployment(application: Path) -> None:
    ours = exported(application / "deployment1" / "production_deployment.yaml", "im")
    files = {name: name for name in SPLIT} | {"mask-detector": "mask-detector-optimal"}
    same_templates(ours, SPLIT, files, Comparison(distinct=True))


def test_elastic_deployment(application: Path) -> None:
    ours = exported(application / "base" / "production_deployment.yaml", "im", ExportSettings(elastic=5))
    same_templates(ours, BASE, {"mask-detector": "mask-detector_elastic"}, Comparison(distinct=False))


@pytest.mark.parametrize(
    ("deployment", "file", "resources"), [("base", "fdl", BASE), ("deployment1", "fdl_optimal", SPLIT)]
)
def test_functions_definition(application: Path, deployment: str, file: str, resources: dict[str, str]) -> None:
    ours = exported(application / deployment / "production_deployment.yaml", "fdl")["fdl"]
    theirs = expected(file)
    comparison = Comparison(distinct=deployment != "base")
    assert set(ours) == {"functions"}
    assert set(ours["functions"]) == {"oscar"}
    services = {
        service["name"]: (cluster, service) for e in ours["functions"]["oscar"] for cluster, service in e.items()
    }
    assert len(services) == len(theirs["functions"]["oscar"]) == len(resources)
    for entry in theirs["functions"]["oscar"]:
        ((cluster, service),) = entry.items()
        variables = service["environment"]["Variables"]
        variables |= environment(variables["COMPONENT_NAME"], resources)
        own_cluster, own = services[service["name"]]
        comparison.same(own_cluster, cluster, service["name"])
        comparison.same(own, service, service["name"])


def test_stores_are_defined_before_those_who_send_to_them(application: Path) -> None:
    ours = exported(application / "deployment1" / "production_deployment.yaml", "fdl")["fdl"]
    names = [service["name"] for entry in ours["functions"]["oscar"] for service in entry.values()]
    assert names == ["mask-detector", "blurry-faces-onnx-partition1-2", "blurry-faces-onnx-partition1-1"]


CHANGES = {
    "another port": lambda t: t["node_templates"]["oscar"]["capabilities"]["endpoint"]["properties"]["ports"][
        "minio_port"
    ].update(source=30301),
    "a number as text": lambda t: t["inputs"]["fe_cpus"].update(default="4"),
    "a literal secret": lambda t: t["inputs"]["minio_password"].update(default="minio123"),
    "a literal cluster": lambda t: t["inputs"]["cluster_name"].update(default="oscar-cluster-mine"),
    "another secret": lambda t: t["inputs"]["minio_password"].update(default="secret:im-mask-detector-oscar-password"),
    "another key": lambda t: t["node_templates"].update(more={"type": "tosca.nodes.Root"}),
    "a missing node": lambda t: t["node_templates"].pop("monitoring"),
    "another suffix": lambda t: t["node_templates"]["oscar_service_mask-detector"]["properties"]["output"][0].update(
        suffix="_DRIFT"
    ),
    "another constraint": lambda t: t["inputs"]["qos_constraints"].update(
        default=t["inputs"]["qos_constraints"]["default"].replace("7", "8")
    ),
    "another drift bucket": lambda t: t["node_templates"]["drift_detector"]["properties"].update(
        spec=t["node_templates"]["drift_detector"]["properties"]["spec"].replace("v1-bucket", "v2-bucket")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_comparison_sees_a_difference(application: Path, change: str) -> None:
    ours = exported(application / "deployment1" / "production_deployment.yaml", "im")["mask-detector"]
    theirs = corrected(expected("mask-detector-optimal"), environment("mask-detector", SPLIT))
    Comparison(distinct=True).same(ours, theirs)
    changed = copy.deepcopy(ours)
    CHANGES[change](changed["topology_template"])
    with pytest.raises(AssertionError):
        Comparison(distinct=True).same(changed, theirs)
