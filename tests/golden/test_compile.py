"""Production files compile to the templates beside them, which tosca-parser accepts as they lie there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.diagnostics import has_errors
from orchestrator.production.compile import compile_topology
from orchestrator.production.load import load_production
from orchestrator.resources import data_path
from orchestrator.topology.dump import render_template
from orchestrator.topology.parse import parse_template
from orchestrator.topology.types import FUNCTION_PLATFORM, shipped_types
from orchestrator.topology.validate import check_topology

CASES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/production.yaml"))


@pytest.fixture
def silent_parser() -> Iterator[None]:
    logger = logging.getLogger("tosca")
    handler = logging.NullHandler()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.parametrize("case", CASES)
def test_production_file_compiles_to_the_expected_template(case: str, update_golden: bool) -> None:
    folder = Path(__file__).parent / case
    loaded = load_production(folder / "production.yaml")
    topology, findings = compile_topology(loaded)
    assert not has_errors((*loaded.diagnostics, *findings))
    text = render_template(topology)
    expected = folder / "topology.yaml"
    if update_golden:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_components_on_one_resource_share_one_cluster(case: str) -> None:
    topology, _ = compile_topology(load_production(Path(__file__).parent / case / "production.yaml"))
    placed = {tuple(p.properties.items()) for p in topology.policies.values() if p.type.endswith(".Placement")}
    platforms = [n for n in topology.nodes.values() if shipped_types().is_derived(n.type, FUNCTION_PLATFORM)]
    assert len(platforms) == len(placed)
    if case == "gpu-spot-flavour":
        hosts = [
            r.node
            for n in topology.nodes.values()
            for r in n.requirements
            if n.name.startswith("service-") and r.name == "host"
        ]
        assert hosts.count("layer1-gpu-spot-oscar") == 3


@pytest.mark.parametrize("case", CASES)
def test_findings_are_the_expected_ones(case: str, update_golden: bool) -> None:
    folder = Path(__file__).parent / case
    loaded = load_production(folder / "production.yaml")
    _, findings = compile_topology(loaded)
    lines = [
        f"{Path(d.location.file).name}:{d.location.line}:{d.location.column}: {d.severity.value}: {d.summary} "
        + d.detail.replace(str(folder), "")
        for d in (*loaded.diagnostics, *findings)
        if d.location
    ]
    expected = folder / "findings.txt"
    if update_golden:
        expected.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert lines == expected.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("case", CASES)
def test_expected_template_reads_back_and_fits_its_types(case: str) -> None:
    text = (Path(__file__).parent / case / "topology.yaml").read_text(encoding="utf-8")
    parsed = parse_template(text, "topology.yaml")
    assert parsed.diagnostics == ()
    assert parsed.topology is not None
    assert render_template(parsed.topology) == text
    assert check_topology(parsed.topology, shipped_types()) == ()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("silent_parser")
def test_tosca_parser_accepts_the_files_as_they_lie_on_disk(case: str, tmp_path: Path) -> None:
    from toscaparser.tosca_template import ToscaTemplate

    text = (Path(__file__).parent / case / "topology.yaml").read_text(encoding="utf-8")
    (tmp_path / "topology.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "continuum.yaml").write_bytes(data_path("tosca", "types", "continuum.yaml").read_bytes())
    template = ToscaTemplate(str(tmp_path / "topology.yaml"))
    parsed = parse_template(text, "topology.yaml").topology
    assert parsed is not None
    assert {node.name for node in template.nodetemplates} == set(parsed.nodes)
