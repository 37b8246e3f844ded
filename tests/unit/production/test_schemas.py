"""The schemas know what the readers ask for, and what files in use hold."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.cli.main import main
from orchestrator.production.schemas import render_schema, schema_names
from orchestrator.topology.located import load_document, plain_value

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = {
    "production*": "production",
    "application_dag": "dag",
    "candidate_resources": "candidate-resources",
    "candidate_deployments": "candidate-deployments",
    "component_partitions": "partitions",
    "physical_nodes": "physical-nodes",
    "qos_constraints*": "qos",
    "multi_cluster_qos_constraints": "multi-cluster-qos",
    "annotations": "annotations",
    "alternative_workflows": "alternatives",
    "containers": "containers",
    "env": "env",
}
ASKING = ("take", "need", "need_text", "text", "number", "integer", "boolean", "texts", "section", "sections", "items")
HELPERS = (
    "_positive",
    "_count",
    "_flag",
    "_text_or_nothing",
    "_reference",
    "_arguments",
    "_megabytes",
    "read_megabytes",
    "_credential",
)
"""Functions of the readers that take a section and the key to read from it."""


@cache
def validator(name: str) -> Any:
    """What checks a file by a schema."""
    return jsonschema.Draft202012Validator(json.loads(render_schema(name)))


def found() -> list[tuple[Path, str]]:
    places = [
        REPOSITORY / "examples",
        REPOSITORY / "tests" / "fixtures" / "predecessor",
        REPOSITORY / "tests" / "golden",
    ]
    return [(p, name) for place in places for stem, name in FILES.items() for p in sorted(place.rglob(f"{stem}.yaml"))]


@pytest.mark.parametrize(("path", "name"), found(), ids=lambda value: str(value).removeprefix(str(REPOSITORY)))
def test_files_in_use_are_not_red(path: Path, name: str) -> None:
    root = load_document(path).root
    assert root is not None
    validator(name).validate(plain_value(root))


@pytest.mark.parametrize("name", schema_names())
def test_it_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(render_schema(name)))


def keys_of(schema: Any) -> set[str]:
    """Every property that a schema names, at any depth."""
    if isinstance(schema, list):
        return {key for inner in schema for key in keys_of(inner)}
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", {}))
    return own | {key for inner in schema.values() for key in keys_of(inner)}


def asked_by(module: Path) -> set[str]:
    """Every key that a reader asks for by a literal, or accepts in the place of another."""
    asked: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        arguments = node.args
        if isinstance(node.func, ast.Attribute):
            asked |= _texts(
                arguments if node.func.attr == "accept" else arguments[:1] if node.func.attr in ASKING else []
            )
        elif isinstance(node.func, ast.Name) and node.func.id in HELPERS:
            asked |= _texts(arguments[1:2])
    return asked


def _texts(nodes: list[ast.expr]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("read_resources.py", ("production",)),
        ("read_components.py", ("production",)),
        ("read_companions.py", ("dag", "partitions", "alternatives")),
        ("read_physical.py", ("physical-nodes",)),
        ("read_qos.py", ("qos", "multi-cluster-qos")),
        ("read_annotations.py", ("annotations",)),
        ("read_alternatives.py", ("alternatives",)),
        ("read_containers.py", ("containers",)),
        ("candidates.py", ("candidate-deployments",)),
        ("load.py", ("production",)),
    ],
)
def test_every_key_that_a_reader_asks_for_is_in_its_schema(module: str, names: tuple[str, ...]) -> None:
    known = {key for name in names for key in keys_of(json.loads(render_schema(name)))}
    asked = asked_by(REPOSITORY / "orchestrator" / "production" / module)
    assert asked
    assert asked - known == set()


def test_a_wrong_type_is_red() -> None:
    assert not validator("production").is_valid({"System": {"Components": 3}})
    assert not validator("production").is_valid({"System": {"Components": {"c": {"name": "a"}}}})
    assert not validator("production").is_valid({"System": {"Componens": {}}})


def test_the_command_prints_lists_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "dag"]) == 0
    assert capsys.readouterr().out == render_schema("dag")
    assert main(["schema"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(schema_names())
    assert main(["schema", "--all", "-o", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.schema.json" for name in schema_names()}
    assert main(["schema", "prodution"]) == 2
    assert "Did you mean 'production'?" in capsys.readouterr().err
