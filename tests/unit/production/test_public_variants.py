"""Ways of writing that occur in public production files: what can be used is, and what is said about it helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.diagnostics import Diagnostic, Severity
from orchestrator.production.compile import compile_topology
from orchestrator.production.load import Loaded, load_production
from orchestrator.production.model import QosConstraint, Resource
from tests.unit.production.models import at, component, domain, edge, found, layer, production

FILE = """System:
  name: Plant Watch
  NetworkDomains:
    ND1:
      name: Field
      ComputationalLayers:
        computationalLayer1:
          name: Edge
          number: 1
          type: Virtual
          Resources:
            resource1:
              name: Box
              totalNodes: 2
              memorySize: 8192
              operatingSystemImageId: ost://cloud.example.org/image-1
              processors:
                processor1: {name: CPU, type: T, architecture: amd64, computingUnits: 4}
              accelerators:
                accelerator1:
                  name: A10
                  processors:
                    processor1: {name: G, type: GPU, architecture: NVIDIA A10, computingUnits: 1}
  Components:
    component1:
      name: reader
      executionLayer: 1
      Containers:
        container1:
          image: registry.example.org/plant/reader:1
          memorySize: 512
          computingUnits: 0.5
          selectedExecutionResource: Box
"""


def load(folder: Path, old: str = "", new: str = "") -> tuple[Loaded, list[Diagnostic]]:
    assert FILE.count(old) == 1 or not old
    path = folder / "production_deployment.yaml"
    path.write_text(FILE.replace(old, new) if old else FILE, encoding="utf-8")
    loaded = load_production(path)
    return loaded, said(loaded)


def said(loaded: Loaded) -> list[Diagnostic]:
    """Errors and warnings; notes tell only what was not there."""
    return [d for d in loaded.diagnostics if d.severity is not Severity.NOTE]


def box(loaded: Loaded) -> Resource:
    assert loaded.model is not None
    (resource,) = loaded.model.layers[0].resources
    return resource


def test_the_file_that_is_varied_has_no_findings(tmp_path: Path) -> None:
    assert load(tmp_path)[1] == []


@pytest.mark.parametrize("memory", ["memory: 24576", "memory: 24 GB"])
def test_an_accelerators_own_memory_is_that_of_its_processors(tmp_path: Path, memory: str) -> None:
    more = f"name: A10\n                  GFLOPS: 31240\n                  powerDraw: 150\n                  {memory}"
    loaded, findings = load(tmp_path, "name: A10", more)
    assert [a.memory_gb for a in box(loaded).accelerators] == [24]
    assert {d.summary for d in findings} <= {"A size has a unit."}


def test_the_cache_of_a_graphics_processor_is_not_its_memory(tmp_path: Path) -> None:
    more = "name: A10\n                  memory: 24576"
    path = tmp_path / "production_deployment.yaml"
    path.write_text(
        FILE.replace("name: A10", more).replace(
            "A10, computingUnits: 1", "A10, computingUnits: 1, internalMemory: 0.25"
        )
    )
    loaded = load_production(path)
    assert [a.memory_gb for a in box(loaded).accelerators] == [24]
    assert said(loaded) == []


def test_a_reference_broken_over_lines_is_joined_with_a_warning(tmp_path: Path) -> None:
    loaded, (finding,) = load(tmp_path, "plant/reader:1", "plant/\n              reader:1")
    assert loaded.model is not None
    assert loaded.model.components["reader"].container.image == "registry.example.org/plant/reader:1"
    assert (finding.is_error, finding.summary) == (False, "A reference has blanks in it.")
    assert finding.location is not None
    assert finding.location.text.strip().startswith("image:")


def test_an_image_id_broken_over_lines_is_joined_too(tmp_path: Path) -> None:
    loaded, (finding,) = load(tmp_path, "example.org/image-1", "example.org/\n                image-1")
    assert box(loaded).system.image_id == "ost://cloud.example.org/image-1"
    assert finding.summary == "A reference has blanks in it."


def test_what_the_runtime_notes_down_is_no_finding(tmp_path: Path) -> None:
    loaded, findings = load(tmp_path, "name: reader", "name: reader\n      infid: 3f0d71e9")
    assert loaded.model is not None
    assert findings == []
    assert load(tmp_path, "  Components:", "  toscas: {reader: {description: x}}\n  Components:")[1] == []


def test_a_list_of_named_entries_is_read_by_their_names(tmp_path: Path) -> None:
    loaded, (finding,) = load(tmp_path, "processor1: {name: CPU", "- processor1: {name: CPU")
    assert [(p.key, p.architecture, p.computing_units) for p in box(loaded).processors] == [("processor1", "amd64", 4)]
    assert finding.summary == "A list was taken for a mapping."


@pytest.mark.parametrize("number", [".nan", ".inf", "1.5", "one"])
def test_a_layer_that_is_no_number_of_one_is_an_error(tmp_path: Path, number: str) -> None:
    loaded, findings = load(tmp_path, "executionLayer: 1", f"executionLayer: {number}")
    assert next(d.summary for d in findings if d.is_error) == "A value has the wrong type."
    assert loaded.model is not None
    assert not loaded.model.components


def test_a_component_inside_another_is_told_once(tmp_path: Path) -> None:
    nested = "container1:\n          name: inner\n          executionLayers: 1\n          Containers: {c: {image: x}}\n"
    path = tmp_path / "production_deployment.yaml"
    path.write_text(FILE[: FILE.index("container1:")] + nested, encoding="utf-8")
    errors = [d for d in load_production(path).diagnostics if d.is_error]
    assert [d.summary for d in errors] == ["A component stands inside another."]
    assert "Move it to Components." in errors[0].detail


CANDIDATES = """      candidateExecutionLayers: [1]
      Containers:
        container1:
          image: registry.example.org/plant/%s:1
          memorySize: 512
          computingUnits: 0.5
          candidateExecutionResources: %s
"""


def candidates(folder: Path, second: str) -> list[Diagnostic]:
    """What is found where ``reader`` is followed by ``judge``, which may run in two places, and by its segment."""
    path = folder / "production_deployment.yaml"
    text = FILE.replace("  Components:", SECOND_RESOURCE + "  Components:")
    path.write_text(
        text
        + "    component2:\n      name: judge\n"
        + CANDIDATES % ("judge", second)
        + "    component2_1:\n      name: judge_partitionX_1\n"
        + CANDIDATES % ("judge", "[Box]"),
        encoding="utf-8",
    )
    dag = "System: {name: x, components: [reader, judge], dependencies: [[reader, judge, 1]]}"
    (folder / "application_dag.yaml").write_text(dag, encoding="utf-8")
    loaded = load_production(path)
    return [*said(loaded), *compile_topology(loaded)[1]]


SECOND_RESOURCE = """            resource2:
              name: Barn
              totalNodes: 1
              memorySize: 8192
              processors:
                processor1: {name: CPU, type: T, architecture: amd64, computingUnits: 4}
"""


def test_a_component_that_is_still_open_is_told_once(tmp_path: Path) -> None:
    found = candidates(tmp_path, "[Box, Barn]")
    errors = [d for d in found if d.is_error]
    assert [d.summary for d in errors] == ["A component has no resource yet."]
    assert "Box on layer 1; Barn on layer 1" in errors[0].detail
    said_of_the_rest = {d.summary for d in found if not d.is_error}
    assert said_of_the_rest == {"A key is written differently."}


def test_an_open_component_that_is_settled_is_found_in_the_dag(tmp_path: Path) -> None:
    found = candidates(tmp_path, "[Barn]")
    assert not any(d.is_error for d in found)


def test_a_file_without_layers_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "production_deployment.yaml"
    path.write_text("System:\n  name: x\n" + FILE[FILE.index("  Components:") :], encoding="utf-8")
    loaded = load_production(path)
    errors = [d for d in (*loaded.diagnostics, *compile_topology(loaded)[1]) if d.is_error]
    assert not any(d.summary == "No such layer." for d in errors)
    assert any("NetworkDomains" in d.detail for d in errors)


@pytest.mark.parametrize(
    ("layer_number", "resource", "detail"),
    [
        (1, "Box", ""),
        (1, "Barn", "Component 'reader' runs on 'Box'; its candidates are Barn."),
        (2, "Barn", "Component 'reader' runs on layer 1; its candidates are 2."),
    ],
)
def test_a_choice_that_the_design_does_not_allow_is_told_once(
    tmp_path: Path, layer_number: int, resource: str, detail: str
) -> None:
    allowed = {"candidateExecutionResources": [resource]}
    component = {"name": "reader", "candidateExecutionLayers": [layer_number], "Containers": {"c": allowed}}
    text = json.dumps({"Components": {"c": component}})
    (tmp_path / "candidate_deployments.yaml").write_text(text, encoding="utf-8")
    assert [d.detail for d in load(tmp_path)[1]] == ([detail] if detail else [])


def every(folder: Path, old: str, new: str) -> list[Diagnostic]:
    loaded, findings = load(folder, old, new)
    return [*findings, *compile_topology(loaded)[1]]


def test_an_image_id_of_a_form_is_told(tmp_path: Path) -> None:
    (finding,) = every(tmp_path, "example.org/image-1", "example.org/c99bc2af-XXXX")
    assert (finding.is_error, finding.summary) == (False, "An image id was never filled in.")
    assert finding.location is not None
    assert "XXXX" in finding.location.text


@pytest.mark.parametrize(("region", "is_known"), [("Milan", False), ("eu-south-1", True), ("westeurope", True)])
def test_a_region_is_an_identifier(tmp_path: Path, region: str, is_known: bool) -> None:
    functions = (
        f"type: NativeCloudFunction\n          Resources:\n            resource1:\n              region: {region}"
    )
    found = every(tmp_path, "type: Virtual\n          Resources:\n            resource1:", functions)
    assert [d.summary for d in found if d.summary == "No such region."] == ([] if is_known else ["No such region."])


@pytest.mark.parametrize(("feasible", "summaries"), [("true", []), ("false", ["The deployment is not feasible."])])
def test_what_the_optimiser_could_not_meet_is_told(tmp_path: Path, feasible: str, summaries: list[str]) -> None:
    found = every(tmp_path, "  Components:", f"  Feasible: {feasible}\n  Components:")
    assert [d.summary for d in found] == summaries


@pytest.mark.parametrize(
    ("component", "where"),
    [
        ("reader", "src/reader/main.py."),
        ("reader_partition1_2", "aisprint/designs/reader/partition1_2/main.py."),
        ("reader_partitionX_2", "aisprint/designs/reader/partitionX_2/main.py, with a number in place of X."),
    ],
)
def test_without_an_image_it_is_said_where_the_code_should_be(tmp_path: Path, component: str, where: str) -> None:
    path = tmp_path / "production_deployment.yaml"
    text = FILE.replace("name: reader", f"name: {component}").replace("registry.example.org/plant/reader:1", "null")
    path.write_text(text, encoding="utf-8")
    (error,) = compile_topology(load_production(path))[1]
    assert error.summary == "A component has no image."
    assert error.detail.endswith(f"put its code into {where}")


def optimal(root: Path, deployment_name: str) -> Loaded:
    """The optimiser's choice, with the files of ``deployment2`` in that one's folder."""
    deployments = root / "aisprint" / "deployments"
    for folder in ("optimal", "deployment2/ams"):
        (deployments / folder).mkdir(parents=True)
    (root / "common_config").mkdir()
    dag = "System: {name: x, components: [reader, other], dependencies: [[reader, other, %s]]}"
    (root / "common_config" / "application_dag.yaml").write_text(dag % 1, encoding="utf-8")
    (deployments / "deployment2" / "application_dag.yaml").write_text(dag % 0.75, encoding="utf-8")
    limit = "system: {name: x, local_constraints: {c1: {component_name: reader, threshold: 20}}}"
    (deployments / "deployment2" / "ams" / "qos_constraints_L1.yaml").write_text(limit, encoding="utf-8")
    path = deployments / "optimal" / "production_deployment.yaml"
    path.write_text(f"{FILE}  DeploymentName: {deployment_name}\n", encoding="utf-8")
    return load_production(path)


def test_the_chosen_deployments_files_go_before_those_of_the_application(tmp_path: Path) -> None:
    model = optimal(tmp_path, "deployment2").model
    assert model is not None
    assert [edge.probability for edge in model.dag.edges] == [0.75]
    assert [constraint.threshold for constraint in model.constraints] == [20]


@pytest.mark.parametrize("name", ["deployment7", "../deployments/deployment2", "..", "/", ""])
def test_a_deployment_without_a_folder_has_the_applications_files(tmp_path: Path, name: str) -> None:
    model = optimal(tmp_path, f"'{name}'").model
    assert model is not None
    assert [edge.probability for edge in model.dag.edges] == [1]
    assert model.constraints == ()


def test_a_split_component_is_told_once_for_the_files_of_all_layers() -> None:
    segments = ("reader_partition1_1", "reader_partition1_2")
    limits = [QosConstraint(f"c{n}", ("reader",), 20.0, False, at(f"c{n}"), layer=n) for n in (1, 2, 3)]
    model = production(layer(1), *(component(name) for name in segments), edge(*segments), constraints=tuple(limits))
    (finding,) = found(model, "A component is split.")
    assert finding.location == at("c1")


def test_a_domain_that_was_pruned_is_not_taken_for_the_one_that_names_it() -> None:
    model = production(domain("ND1", layer(1)), domain("ND3", sub=("ND1", "ND2")), component("a"))
    (finding,) = found(model, "No such network domain.")
    assert not finding.is_error
    assert finding.detail == "ND3 has 'ND2' inside it, which is not there."


def test_a_mistyped_domain_is_still_told() -> None:
    model = production(
        domain("edge", layer(1)), domain("cloud", layer(2)), domain("all", sub=("egde", "cloud")), component("a")
    )
    (finding,) = found(model, "No such network domain.")
    assert finding.detail.endswith("Did you mean 'edge'?")
