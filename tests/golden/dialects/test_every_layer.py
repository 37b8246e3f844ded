"""A deployment with every type of layer is exported to the files beside it, byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.production.compile import compile_topology
from orchestrator.production.dialects.export import export
from orchestrator.production.dialects.settings import DIALECTS
from orchestrator.production.load import load_production

CASE = Path(__file__).parent / "every-layer"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_export_is_the_expected_one(dialect: str, update_golden: bool) -> None:
    loaded = load_production(CASE / "production.yaml")
    topology, _ = compile_topology(loaded)
    found = export(loaded, topology, dialect)
    assert found.diagnostics == ()
    folder = CASE / dialect
    if update_golden:
        folder.mkdir(exist_ok=True)
        for name, text in found.files.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert found.files == {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
