"""The ways in which files in use differ: each is read, and said what was made of it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from orchestrator.diagnostics import Diagnostic
from orchestrator.production.load import Loaded, load_production
from orchestrator.production.model import Production

RESOURCE = """\
          Resources:
            resource1:
              name: VM
              totalNodes: 2
              cost: 1
              memorySize: 4096
              processors:
                processor1: {architecture: amd64, computingUnits: 4}
"""
TEXT = f"""\
System:
  name: Variants
  NetworkDomains:
    ND1:
      name: Here
      ComputationalLayers:
        computationalLayer1:
          name: Edge
          number: 1
          type: Virtual
{RESOURCE}        computationalLayer2:
          name: Cloud
          number: 2
          type: Virtual
{RESOURCE.replace("name: VM", "name: Big")}  Components:
    component1:
      name: first
      executionLayer: 1
      Containers:
        container1:
          image: registry.example/first:1
          memorySize: 512
          computingUnits: 0.5
          selectedExecutionResource: VM
"""


def read(folder: Path, text: str, **others: str) -> Loaded:
    (folder / "production.yaml").write_text(text, encoding="utf-8")
    for name, content in others.items():
        (folder / f"{name}.yaml").write_text(content, encoding="utf-8")
    return load_production(folder / "production.yaml")


def model(loaded: Loaded) -> Production:
    assert loaded.model is not None, loaded.diagnostics
    assert not [d for d in loaded.diagnostics if d.is_error], loaded.diagnostics
    return loaded.model


def found(loaded: Loaded) -> list[tuple[str, str, int]]:
    return [(d.severity.value, d.summary, line(d)) for d in loaded.diagnostics if d.summary != "Files were not found."]


def line(diagnostic: Diagnostic) -> int:
    assert diagnostic.location is not None
    return diagnostic.location.line


def test_what_is_assumed_without_the_other_files_is_said(tmp_path: Path) -> None:
    (note,) = read(tmp_path, TEXT).diagnostics
    assert (note.severity, note.summary, line(note)) == ("note", "Files were not found.", 1)
    assert "component_partitions.yaml: components" in note.detail
    assert "qos_constraints.yaml: no time limits" in note.detail
    partitions, qos = "components: {first: {partitions: [base]}}\n", "system: {name: q}\n"
    assert read(tmp_path, TEXT, component_partitions=partitions, qos_constraints=qos).diagnostics == ()


def test_the_plain_form_has_no_findings(tmp_path: Path) -> None:
    loaded = read(tmp_path, TEXT)
    assert found(loaded) == []
    assert [layer.number for layer in model(loaded).layers] == [1, 2]


@pytest.mark.parametrize(
    ("old", "new", "summary", "row"),
    [
        ("System:", "system:", "A key is written differently.", 1),
        ("  NetworkDomains:", "  NetworkDomain:", "A key is written differently.", 3),
        ("ComputationalLayers:", "ComputationalLayer:", "A key is written differently.", 6),
        ("type: Virtual\n          Resources:", "type: Virtual\n          Resource:", "A key is written differently.", 11),  # noqa: E501
        ("              processors:", "              processor:", "A key is written differently.", 17),
        ("  Components:", "  Component:", "A key is written differently.", 31),
        ("      Containers:", "      Container:", "A key is written differently.", 35),
        ("executionLayer: 1", "executionLayers: [1]", "A key is written differently.", 34),
        ("executionLayer: 1", "candidateExecutionLayers: [1]", "A key is written differently.", 34),
        ("executionLayer: 1", "executionLayer: computationalLayer1", "A layer is written differently.", 34),
        ("executionLayer: 1", "executionLayer: edge", "A layer is written differently.", 34),
        ("executionLayer: 1", "candidateExecutionLayers: [1, 2]", "A place is given as candidate.", 40),
        ("ExecutionResource: VM", "ExecutionResources: [VM]", "A key is written differently.", 40),
        ("selectedExecutionResource: VM", "candidateExecutionResources: [VM, Big]", "A place is given as candidate.", 40),  # noqa: E501
        ("architecture: amd64", "architecture: IntelX86", "An architecture is written differently.", 18),
        ("architecture: amd64", "architecture: x86_64", "An architecture is written differently.", 18),
        ("memorySize: 4096", "memorySize: 4GB", "A size has a unit.", 16),
        ("              cost: 1\n", "              cost: 1\n              storageSize: 64GB\n", "A size has a unit.", 16),  # noqa: E501
        ("cost: 1", "secureBoot: string", "A boolean was never filled in.", 15),
        ("type: Virtual", "type: virtual", "A layer type is written differently.", 10),
    ],
)  # fmt: skip
def test_variant_is_read_with_a_warning_at_its_line(tmp_path: Path, old: str, new: str, summary: str, row: int) -> None:
    assert old in TEXT
    loaded = read(tmp_path, TEXT.replace(old, new))
    assert ("warning", summary, row) in found(loaded)
    made = model(loaded)
    assert made.components["first"].layer == 1
    assert made.components["first"].container.resource == "VM"
    assert made.layers[0].resources[0].architecture == "amd64"
    assert made.layers[0].resources[0].memory_mb == 4096


@pytest.mark.parametrize(("written", "version"), [("22.04", "22.04"), ("20.10", "20.10"), ("12", "12"), ("'11'", "11")])
def test_a_version_is_kept_as_it_is_written(tmp_path: Path, written: str, version: str) -> None:
    made = model(read(tmp_path, TEXT.replace("cost: 1", f"operatingSystemVersion: {written}")))
    assert made.layers[0].resources[0].system.version == version


@pytest.mark.parametrize("written", ["None", '""', "null", "", "-"])
def test_no_image_id_is_written_in_many_ways(tmp_path: Path, written: str) -> None:
    made = model(read(tmp_path, TEXT.replace("cost: 1", f"operatingSystemImageId: {written}")))
    assert made.layers[0].resources[0].system.image_id == ""


def test_a_whole_file_without_system_is_taken_for_it(tmp_path: Path) -> None:
    text = "\n".join(row.removeprefix("  ") for row in TEXT.splitlines()[1:])
    loaded = read(tmp_path, text)
    assert ("warning", "A key is missing.", 1) in found(loaded)
    assert model(loaded).name == "Variants"


def test_a_name_is_taken_from_where_it_is(tmp_path: Path) -> None:
    nameless = TEXT.replace("  name: Variants\n", "")
    dag = "System: {name: from the dag, components: [first], dependencies: null}\n"
    loaded = read(tmp_path, nameless, application_dag=dag)
    assert model(loaded).name == "from the dag"
    assert ("warning", "A key is missing.", 2) in found(loaded)


def test_lists_are_taken_for_mappings(tmp_path: Path) -> None:
    text = TEXT.replace("        container1:\n          image", "        - image").replace(
        "\n          memorySize: 512", "\n          memorySize: 512"
    )
    loaded = read(tmp_path, text)
    assert ("warning", "A list was taken for a mapping.", 36) in found(loaded)
    assert model(loaded).components["first"].container.memory_mb == 512


def test_of_several_containers_the_one_on_the_layer_is_taken(tmp_path: Path) -> None:
    other = "        container0:\n          {image: 'x', memorySize: 1, computingUnits: 1, selectedExecutionResource: Big}\n"  # noqa: E501
    loaded = read(tmp_path, TEXT.replace("        container1:\n", other + "        container1:\n"))
    assert model(loaded).components["first"].container.key == "container1"
    assert ("warning", "More than one container.", 35) in found(loaded)


def test_what_is_left_open_is_an_error_that_names_the_choices(tmp_path: Path) -> None:
    text = TEXT.replace("executionLayer: 1", "candidateExecutionLayers: [1, 2]")
    text = text.replace("selectedExecutionResource: VM", "candidateExecutionResources: [VM, Big]")
    loaded = read(tmp_path, text)
    (error,) = [d for d in loaded.diagnostics if d.is_error and d.summary == "A component has no layer yet."]
    assert "VM on layer 1; Big on layer 2" in error.detail
    assert line(error) == 34


def test_cloud_functions_need_no_machines(tmp_path: Path) -> None:
    functions = "              name: VM\n              architecture: arm64\n              region: eu-west-1\n              memorySize: 1024\n"  # noqa: E501
    begin, end = TEXT.index("              name: VM\n"), TEXT.index("        computationalLayer2:")
    text = (TEXT[:begin] + functions + TEXT[end:]).replace("type: Virtual", "type: NativeCloudFunction", 1)
    loaded = read(tmp_path, text)
    resource = model(loaded).layers[0].resources[0]
    assert found(loaded) == []
    assert resource.functions is not None
    assert (resource.architecture, resource.functions.region, resource.total_nodes) == ("arm64", "eu-west-1", 1)


def test_resources_are_taken_from_the_candidates(tmp_path: Path) -> None:
    begin, end = TEXT.index("  NetworkDomains:"), TEXT.index("  Components:")
    candidates = "System:\n  name: Variants\n" + TEXT[begin:end]
    loaded = read(tmp_path, TEXT[:begin] + TEXT[end:], candidate_resources=candidates)
    assert ("warning", "The resources are in another file.", 2) in found(loaded)
    assert model(loaded).layers[1].resources[0].name == "Big"


def test_a_candidate_file_of_resources_brings_the_candidate_components(tmp_path: Path) -> None:
    begin, end = TEXT.index("  NetworkDomains:"), TEXT.index("  Components:")
    (tmp_path / "candidate_resources.yaml").write_text("System:\n  name: V\n" + TEXT[begin:end], encoding="utf-8")
    (tmp_path / "candidate_deployments.yaml").write_text("System:\n" + TEXT[end:], encoding="utf-8")
    for name in ("candidate_resources", "candidate_deployments"):
        loaded = load_production(tmp_path / f"{name}.yaml")
        assert loaded.model is not None or "name" in loaded.diagnostics[-1].detail
    loaded = load_production(tmp_path / "candidate_resources.yaml")
    assert list(model(loaded).components) == ["first"]


def dag(*names: str, more: str = "") -> str:
    edges = ", ".join(f"[{a}, {b}, 1]" for a, b in itertools.pairwise(names))
    return f"System:\n  name: d\n  components: [{', '.join(names)}]\n{more}  dependencies: [{edges}]\n"


def with_second(name: str) -> str:
    return TEXT + TEXT[TEXT.index("    component1:") :].replace("component1:", "component2:").replace(
        "name: first", f"name: {name}"
    )


def test_an_alternative_component_takes_its_place_in_the_dag(tmp_path: Path) -> None:
    text = dag("first", "big", more="  alternative_components: {big: [huge, small]}\n")
    loaded = read(tmp_path, with_second("small"), application_dag=text)
    assert [(edge.source, edge.target) for edge in model(loaded).dag.edges] == [("first", "small")]
    assert ("note", "An alternative component is deployed.", 3) in found(loaded)


@pytest.mark.parametrize(
    ("deployed", "named"),
    [
        ("cut_partition1_1", "cut_partitionX_1"),
        ("cut_partitionX_1", "cut_partition2_1"),
        ("cut-partition1-1", "cut_partitionX_1"),
    ],
)
def test_a_partition_that_is_left_open_is_found(tmp_path: Path, deployed: str, named: str) -> None:
    loaded = read(tmp_path, with_second(deployed), application_dag=dag("first", named))
    assert [(edge.source, edge.target) for edge in model(loaded).dag.edges] == [("first", deployed)]
    assert ("warning", "A name is written differently.", 3) in found(loaded)


def test_segments_take_the_place_of_the_whole_in_the_dag(tmp_path: Path) -> None:
    text = with_second("cut_partition1_2").replace("name: first", "name: cut_partition1_1")
    loaded = read(tmp_path, text, application_dag=dag("cut"))
    edges = [(edge.source, edge.target) for edge in model(loaded).dag.edges]
    assert edges == [("cut_partition1_1", "cut_partition1_2")]
    assert ("warning", "A component is split.", 3) in found(loaded)
