"""Production files: every bad one gets an error with its line, and nothing else happens."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.diagnostics import Diagnostic, has_errors
from orchestrator.production.compile import compile_topology
from orchestrator.production.load import load_production
from orchestrator.production.naming import partition_of, sanitise, shorten
from orchestrator.production.units import parse_gigabytes, parse_megabytes, render_size
from orchestrator.topology.model import Topology

CASE = Path(__file__).parents[2] / "golden" / "mask-detection"
APPLICATION = Path(__file__).parents[2] / "fixtures" / "predecessor" / "app_demo"
DAG = """System:
  name: x
  components: [blurry-faces, mask-detector]
  dependencies: [[blurry-faces, mask-detector, 1]]
"""

CIRCLE = "blurry-faces → mask-detector → blurry-faces"


def load(folder: Path, production: str, dag: str | None = DAG) -> tuple[Topology, list[Diagnostic]]:
    (folder / "production.yaml").write_text(production, encoding="utf-8")
    if dag is not None:
        (folder / "application_dag.yaml").write_text(dag, encoding="utf-8")
    loaded = load_production(folder / "production.yaml")
    topology, findings = compile_topology(loaded)
    return topology, [*loaded.diagnostics, *findings]


def good() -> str:
    return (CASE / "production.yaml").read_text(encoding="utf-8")


def test_good_file_has_no_errors(tmp_path: Path) -> None:
    topology, found = load(tmp_path, good())
    assert not has_errors(found)
    assert "service-mask-detector" in topology.nodes


@pytest.mark.parametrize(
    ("old", "new", "summary", "words"),
    [
        ("executionLayer: 2", "executionLayer: 5", "No such layer.", "the layers are 1, 2"),
        ("executionLayer: 2", "executionLayer: two", "A value has the wrong type.", "given by its number"),
        ("executionLayer: 2", "executionLayr: 2", "A key is missing.", "executionLayer"),
        ("Resource: CloudVM", "Resource: CloudVN", "No such resource.", "Did you mean 'CloudVM'?"),
        ("Resource: CloudVM", "Resource: RaspPi", "No such resource.", "It is on layer 1"),
        ("selectedExecutionResource: CloudVM", "", "A key is missing.", "selectedExecutionResource"),
        ("type: Virtual", "type: Virtal", "No such layer type.", "Did you mean 'Virtual'?"),
        ("number: 2", "number: 1", "Two layers have one number.", "computationalLayer1"),
        ("totalNodes: 2", "totalNodes: -2", "A number is out of range.", "from 1 to"),
        ("totalNodes: 2", "totalNodes: 100000", "A number is out of range.", "from 1 to"),
        ("totalNodes: 2", "totalNodes: 1.5", "A value has the wrong type.", "a whole number"),
        ("totalNodes: 2", "totalNodes: [2]", "A value has the wrong type.", "a list"),
        ("cost: 0.675", "cost: -1", "A number is out of range.", "below 0"),
        ("memorySize: 8192", "memorySize: lots", "A value has the wrong type.", "memory size"),
        ("memorySize: 8192", "memorySize: 0", "A number is out of range.", "above 0"),
        ("memorySize: 1024", "memorySize: 9000", "A component fits on no node.", "8192 MB"),
        ("storageSize: 25", "storageSize: big", "A value has the wrong type.", "storage size"),
        ("architecture: amd64", "architecture: sparc", "No such architecture.", "sparc"),
        ("architecture: amd64", "architecture: amd46", "No such architecture.", "Did you mean 'amd64'?"),
        ("GPURequirement: false", "GPURequirement: true", "A component needs a GPU.", "no accelerator"),
        ("trustedExecution: false", "trustedExecution: maybe", "A value has the wrong type.", "true or false"),
        ("trustedExecution: f", "trustedExecutoin: f", "A key is not known.", "Did you mean 'trustedExecution'?"),
        ("name: mask-detector", "name: blurry-faces", "Two components have one name.", "line"),
        ("name: mask-detector", "name: Blurry_faces", "Two names become the same.", "blurry-faces"),
        ("name: mask-detector", "name: " + "m" * 40, "A name is too long.", "40 characters"),
        ("name: mask-detector", "name: '***'", "A name cannot be used.", "letter"),
        ("name: RaspPi", "name: " + "r" * 50, "A name is too long.", "50 characters"),
        ("  name: Mask Detection\n", "  name: '***'\n", "A name cannot be used.", "letter"),
        ("Components:", "Componens:", "A key is missing.", "Components"),
        ("System:", "Sistem:", "This is no production file.", "System"),
        ("executionLayer: 2", "executionLayer: 2\n      executionLayer: 1", "A key is given twice.", "line"),
    ],
)  # fmt: skip
def test_mistake_is_explained_at_its_line(tmp_path: Path, old: str, new: str, summary: str, words: str) -> None:
    text = good()
    assert old in text
    _, found = load(tmp_path, text.replace(old, new), DAG)
    errors = [d for d in found if d.is_error]
    assert any(d.summary == summary and words in d.detail for d in errors), errors
    assert all(d.location and d.location.line > 0 for d in errors)


def test_error_points_to_the_offending_line(tmp_path: Path) -> None:
    text = good().replace("selectedExecutionResource: CloudVM", "selectedExecutionResource: CloudVN")
    _, found = load(tmp_path, text)
    (error,) = [d for d in found if d.is_error]
    assert error.location is not None
    line = next(i for i, written in enumerate(text.splitlines(), 1) if "CloudVN" in written)
    assert error.location.line == line
    assert error.location.text == text.splitlines()[line - 1]
    assert error.location.text[error.location.column - 1 :] == "CloudVN"


@pytest.mark.parametrize(
    ("dependencies", "summary", "words", "line"),
    [
        ("[[blurry-faces, mask-detector, 1],\n  [mask-detector, blurry-faces, 1]]", "The DAG has a cycle.", CIRCLE, 5),
        ("[[mask-detector, mask-detector, 1]]", "The DAG has a cycle.", "its own results", 4),
        ("[[blurry-faces, mask-detectr, 1]]", "A component is missing.", "Did you mean 'mask-detector'?", 4),
        ("[[blurry-faces, mask-detector, 2]]", "A probability is not understood.", "from 0 to 1", 4),
        ("[[blurry-faces]]", "A dependency is not understood.", "[source, target, probability]", 4),
        ("[blurry-faces, mask-detector]", "A dependency is not understood.", "[source, target, probability]", 4),
        ("{a: b}", "A value has the wrong type.", "a list of", 4),
    ],
)  # fmt: skip
def test_mistake_in_the_dag_is_explained_at_its_line(
    tmp_path: Path, dependencies: str, summary: str, words: str, line: int
) -> None:
    dag = f"System:\n  name: x\n  components: [blurry-faces, mask-detector]\n  dependencies: {dependencies}\n"
    _, found = load(tmp_path, good(), dag)
    matching = [d for d in found if d.is_error and d.summary == summary and words in d.detail]
    assert matching, found
    assert matching[0].location is not None
    assert (Path(matching[0].location.file).name, matching[0].location.line) == ("application_dag.yaml", line)


def test_long_cycle_is_named_without_what_leads_to_it(tmp_path: Path) -> None:
    data = yaml.safe_load(good())
    first = data["System"]["Components"]["component1"]
    for name in "abcd":
        data["System"]["Components"][name] = {**copy.deepcopy(first), "name": name}
    edges = [["blurry-faces", "a", 1], ["a", "b", 1], ["b", "c", 1], ["c", "a", 1], ["c", "d", 1]]
    dag = yaml.safe_dump({"System": {"name": "x", "components": ["blurry-faces", *"abcd"], "dependencies": edges}})
    _, found = load(tmp_path, yaml.safe_dump(data), dag)
    (cycle,) = [d for d in found if d.summary == "The DAG has a cycle."]
    assert cycle.detail.startswith("a → b → c → a:")


def test_absent_dag_is_assumed_and_said(tmp_path: Path) -> None:
    topology, found = load(tmp_path, good(), None)
    (warning,) = [d for d in found if d.summary == "There is no DAG file."]
    assert "blurry-faces → mask-detector" in warning.detail
    assert [r.node for r in topology.nodes["service-blurry-faces"].requirements if r.name == "connects_to"] == [
        "service-mask-detector"
    ]


def test_component_outside_the_dag_is_a_warning(tmp_path: Path) -> None:
    topology, found = load(tmp_path, good(), "System:\n  name: x\n  components: [blurry-faces]\n")
    assert not has_errors(found)
    assert any(d.summary == "A component is not in the DAG." for d in found)
    assert topology.nodes["service-mask-detector"].properties["input_path"] == "mask-detector/input"


@pytest.mark.parametrize(
    ("content", "summary"),
    [
        (b"", "The file is empty."),
        (b"System: [", "The file is not valid YAML."),
        (b"\xff\xfeS", "The file is not UTF-8."),
        (b"[1, 2]", "This is no production file."),
        (b"just text", "This is no production file."),
        (b"System: 5", "A value has the wrong type."),
        (b"System:\n", "This is no production file."),
        (b"System: {name: x}", "A key is missing."),
        (b"System: {name: x, NetworkDomains: {}, Components: {}}", "There are no layers."),
        (b"System: {name: x, NetworkDomains: 1, Components: []}", "A value has the wrong type."),
    ],
)
def test_what_is_no_production_file_is_said(tmp_path: Path, content: bytes, summary: str) -> None:
    path = tmp_path / "production.yaml"
    path.write_bytes(content)
    loaded = load_production(path)
    topology, findings = compile_topology(loaded)
    assert topology.name == ""
    errors = [d for d in (*loaded.diagnostics, *findings) if d.is_error]
    assert summary in [d.summary for d in errors]
    assert all(d.location for d in errors)


def test_files_are_found_in_the_application_layout() -> None:
    path = APPLICATION / "aisprint" / "deployments" / "deployment1" / "production_deployment.yaml"
    loaded = load_production(path)
    assert loaded.root.resolve() == APPLICATION.resolve()
    assert loaded.layout.files["dag"] == path.parent / "application_dag.yaml"
    assert "physical_nodes" in loaded.layout.files
    topology, _ = compile_topology(loaded)
    environment = topology.nodes["service-mask-detector"].properties["environment"]
    assert isinstance(environment, dict)
    assert (environment["ENV_VAR1"], environment["ENV_VAR2"]) == ("some_value", "10000")
    assert topology.nodes["layer1-rasppi-oscar"].properties["store_endpoint"] == "https://minio.graspi.im.grycap.net"
    assert "minio123" not in str(topology)


def test_segments_follow_each_other_as_the_chosen_deployment_has_them() -> None:
    path = APPLICATION / "aisprint" / "deployments" / "optimal_deployment" / "production_deployment.yaml"
    loaded = load_production(path)
    topology, findings = compile_topology(loaded)
    assert not has_errors((*loaded.diagnostics, *findings))
    way = {
        name.removeprefix("service-"): [
            r.node.removeprefix("service-") for r in node.requirements if r.name == "connects_to"
        ]
        for name, node in topology.nodes.items()
        if name.startswith("service-")
    }
    assert way == {
        "blurry-faces-onnx-partition1-1": ["blurry-faces-onnx-partition1-2"],
        "blurry-faces-onnx-partition1-2": ["mask-detector"],
        "mask-detector": [],
    }


def _keys(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(node, dict):
        return [found for key, value in node.items() for found in ((*path, key), *_keys(value, (*path, key)))]
    if isinstance(node, list):
        return [found for i, value in enumerate(node) for found in ((*path, i), *_keys(value, (*path, i)))]
    return []


def _drop(parent: Any, key: Any) -> None:
    del parent[key]


def _misspell(parent: Any, key: Any) -> None:
    if isinstance(parent, dict):
        parent[f"{key}"[:-1] + "x"] = parent.pop(key)


def _replace_with(value: Any) -> Callable[[Any, Any], None]:
    def mutate(parent: Any, key: Any) -> None:
        parent[key] = copy.deepcopy(value)

    return mutate


MUTATIONS = [
    _drop,
    _misspell,
    *(
        _replace_with(v)
        for v in (None, "", "x", -1, 0, 1e99, float("nan"), True, [], [[]], {}, {"a": [1]}, "2024-99-99")
    ),
]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 3), in_dag=st.booleans())
def test_no_mutation_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, in_dag: bool
) -> None:
    choice = random.Random(seed)
    data = {"production": yaml.safe_load(good()), "dag": yaml.safe_load(DAG)}
    target = data["dag" if in_dag else "production"]
    for _ in range(count):
        path = choice.choice(_keys(target) or [()])
        if path:
            parent = target
            for step in path[:-1]:
                parent = parent[step]
            choice.choice(MUTATIONS)(parent, path[-1])
    folder = tmp_path_factory.mktemp("mutated")
    topology, found = load(folder, yaml.safe_dump(data["production"]), yaml.safe_dump(data["dag"]))
    assert bool(topology.name) != has_errors(found)
    assert all(d.location for d in found if d.is_error)


@given(st.text(max_size=60))
def test_names_become_labels(name: str) -> None:
    clean = sanitise(name)
    assert set(clean) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert sanitise(clean) == clean
    assert len(shorten(clean, 20)) <= 20


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("blurry-faces-onnx-partition1-1", ("blurry-faces-onnx", "partition1_1")),
        ("blurry-faces-onnx_partition1_2", ("blurry-faces-onnx", "partition1_2")),
        ("c_partitionX_1", ("c", "partitionX_1")),
        ("partition1_1", ("partition1_1", "")),
        ("plain", ("plain", "")),
    ],
)
def test_segments_are_told_from_components(name: str, parts: tuple[str, str]) -> None:
    assert partition_of(name) == parts


@pytest.mark.parametrize(
    ("text", "gigabytes"), [("25", 25), ("0.512", 0.512), ("64GB", 64), ("25 GB", 25), ("512 MB", 0.512), ("1TB", 1000)]
)
def test_storage_sizes(text: str, gigabytes: float) -> None:
    assert parse_gigabytes(text) == pytest.approx(gigabytes)


def test_other_sizes() -> None:
    assert parse_megabytes("4096") == 4096
    assert parse_megabytes("4GB") == 4096
    assert parse_megabytes("512MB") == 512
    assert parse_megabytes("-1") is None
    assert (render_size(64), render_size(0.512)) == ("64 GB", "512 MB")


def test_long_deployment_name_is_shortened_and_stays_apart(tmp_path: Path) -> None:
    names = set()
    for ending in ("a", "b"):
        topology, found = load(tmp_path, good().replace("name: Mask Detection\n", f"name: {'Mask ' * 12}{ending}\n", 1))
        assert any(d.summary == "A name was shortened." for d in found)
        assert len(topology.name) <= 40
        names.add(topology.name)
    assert len(names) == 2
