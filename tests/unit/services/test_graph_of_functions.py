"""Cloud functions are drawn as what they are, not as OSCAR."""

from __future__ import annotations

from pathlib import Path

from orchestrator.production.compile import compile_topology
from orchestrator.production.load import load_production
from orchestrator.services.graph import render_graph

CASE = Path(__file__).parents[2] / "golden" / "cloud-functions" / "production.yaml"


def test_functions_are_named_after_their_cloud_and_hang_on_the_way() -> None:
    topology, _ = compile_topology(load_production(CASE))
    for form in ("dot", "mermaid"):
        picture = render_graph(topology, form)
        assert "aws functions" in picture
        assert picture.count(">OSCAR<") == 1
        assert "classifier" in picture
        assert "0.1" in picture
