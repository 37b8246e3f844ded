"""A result of a model with early exits goes on to the next segment or leaves, told by its suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.production.compile import compile_topology
from orchestrator.production.dialects.export import export
from orchestrator.production.load import load_production

LAYER = """\
System:
  name: exits
  NetworkDomains:
    ND1:
      name: all
      ComputationalLayers:
        layer1:
          name: cloud
          number: 1
          type: Virtual
          Resources:
            resource1:
              name: VM
              totalNodes: 2
              memorySize: 8192
              operatingSystemImageId: one://cloud.example.org/1
              processors:
                processor1: {name: Xeon, type: Ice, architecture: amd64, computingUnits: 4, internalMemory: 8}
  Components:
"""
COMPONENT = """\
    {0}:
      name: {0}
      executionLayer: 1
      Containers:
        container1:
          image: registry.example.org/{0}:1
          memorySize: 64
          computingUnits: 0.5
          selectedExecutionResource: VM
"""
ANNOTATIONS = """\
exits/src/classifier/main.py:
  component_name: {name: classifier}
  early_exits_model: {condition_function: leave, onnx_file: classifier.onnx, transition_probabilities: [0.75]}
"""
SEGMENTS = ("classifier_partition1_1", "classifier_partition1_2")


def outputs(folder: Path, components: tuple[str, ...], dag: list[list[object]]) -> dict[str, list[dict[str, Any]]]:
    """Outputs of each component, with the component that the store belongs to."""
    text = LAYER + "".join(COMPONENT.format(name) for name in components)
    (folder / "production.yaml").write_text(text, encoding="utf-8")
    graph = {"System": {"name": "exits", "components": list(components), "dependencies": dag}}
    (folder / "application_dag.yaml").write_text(yaml.safe_dump(graph), encoding="utf-8")
    loaded = load_production(folder / "production.yaml")
    topology, _ = compile_topology(loaded)
    found = export(loaded, topology, "im")
    assert found.files, (loaded.diagnostics, found.diagnostics)
    templates = {name.removesuffix(".yaml"): yaml.safe_load(t)["topology_template"] for name, t in found.files.items()}
    owners = {t["inputs"]["cluster_name"]["default"]: name for name, t in templates.items()}
    result = {}
    for name, template in templates.items():
        function = template["node_templates"][f"oscar_service_{name}"]["properties"]
        result[name] = [
            {
                "to": owners.get(entry["storage_provider"].partition(".")[2], name),
                **({"suffix": entry["suffix"]} if "suffix" in entry else {}),
            }
            for entry in function["output"]
        ]
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "annotations.yaml").write_text(ANNOTATIONS, encoding="utf-8")
    return tmp_path


def test_the_last_component_keeps_its_results(folder: Path) -> None:
    first, second = SEGMENTS
    found = outputs(folder, ("filter", *SEGMENTS), [["filter", first, 1], [first, second, 0.75]])
    assert found == {
        "filter": [{"to": first}],
        first: [{"to": second, "suffix": "_NO_EARLYEXIT"}, {"to": first, "suffix": "_EARLY_EXIT"}],
        second: [{"to": second, "suffix": "_EARLY_EXIT"}],
    }


def test_results_go_to_who_comes_after_the_model(folder: Path) -> None:
    first, second = SEGMENTS
    dag: list[list[object]] = [[first, second, 0.75], [first, "notify", 0.25], [second, "notify", 1]]
    found = outputs(folder, (*SEGMENTS, "notify"), dag)
    assert found == {
        first: [{"to": second, "suffix": "_NO_EARLYEXIT"}, {"to": "notify", "suffix": "_EARLY_EXIT"}],
        second: [{"to": "notify", "suffix": "_EARLY_EXIT"}],
        "notify": [{"to": "notify"}],
    }


def test_without_early_exits_there_is_no_suffix(tmp_path: Path) -> None:
    first, second = SEGMENTS
    assert outputs(tmp_path, SEGMENTS, [[first, second, 1]]) == {first: [{"to": second}], second: [{"to": second}]}
