"""The real Infrastructure Manager takes every template that `deploy compile --dialect im` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.systems.infrastructure_manager import InfrastructureManager

pytestmark = pytest.mark.systems

EXPECTED = Path(__file__).parent.parent / "fixtures" / "predecessor" / "expected"
# Its Dummy cloud cannot tell what becomes of functions on an OSCAR that is there already.
NO_FUNCTIONS = "'DummyCloudConnector' object has no attribute 'auth'"


@pytest.fixture(autouse=True)
def _nothing_is_left(infrastructure_manager: InfrastructureManager) -> Iterator[None]:
    yield
    left = infrastructure_manager.listed()
    for infrastructure in left:
        infrastructure_manager.ask("DELETE", infrastructure)
    assert left == []


def machines(template: dict[str, Any]) -> int:
    """How many machines a template asks for."""
    nodes = template["topology_template"]["node_templates"]
    computes = [node for node in nodes.values() if node["type"].endswith("Compute")]
    return sum(node["capabilities"].get("scalable", {}).get("properties", {}).get("count", 1) for node in computes)


def bring_up_and_down(manager: InfrastructureManager, text: str) -> None:
    template = yaml.safe_load(text)
    created = manager.create(text)
    assert created.status == 200, created.text
    infrastructure = created.json["uri"]
    assert manager.wait_for_state(infrastructure) == "configured"

    vms = manager.ask("GET", infrastructure).json["uri-list"]
    outputs = manager.ask("GET", f"{infrastructure}/outputs")
    if machines(template):
        assert len(vms) == machines(template)
        assert outputs.status == 200, outputs.text
        assert set(outputs.json["outputs"]) == set(template["topology_template"]["outputs"])
    else:
        assert outputs.status == 200 or NO_FUNCTIONS in outputs.text, outputs.text

    kept = manager.ask("GET", f"{infrastructure}/tosca")
    assert kept.status == 200, kept.text
    nodes = yaml.safe_load(kept.json["tosca"])["topology_template"]["node_templates"]
    assert set(nodes) == set(template["topology_template"]["node_templates"])

    deleted = manager.ask("DELETE", infrastructure)
    assert deleted.status == 200, deleted.text
    assert infrastructure not in manager.listed()


def test_it_is_the_real_service(infrastructure_manager: InfrastructureManager) -> None:
    assert infrastructure_manager.ask("GET", "/version").json["version"] == "2.0.0"


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("[!f]*.yaml")), ids=lambda path: path.name)
def test_it_refuses_what_the_predecessor_writes(infrastructure_manager: InfrastructureManager, path: Path) -> None:
    """Which shows that a template can fail here."""
    refused = infrastructure_manager.create(path.read_text(encoding="utf-8"))
    assert refused.status == 400
    assert "is not a string" in refused.text


def test_with_two_corrections_it_takes_what_the_predecessor_writes(
    infrastructure_manager: InfrastructureManager,
) -> None:
    """Suffixes are texts, and what runs the elastic cluster has a host: nothing else is wrong with those files."""
    for path in sorted(EXPECTED.glob("[!f]*.yaml")):
        text = re.sub(r"suffix:\n\s+- (\S+)", r"suffix: \1", path.read_text(encoding="utf-8"))
        text = text.replace("      - lrms: lrms_front_end\n", "      - host: front\n      - lrms: lrms_front_end\n")
        bring_up_and_down(infrastructure_manager, text)


def test_a_play_that_nobody_publishes_is_refused(infrastructure_manager: InfrastructureManager) -> None:
    text = (EXPECTED / "mask-detector.yaml").read_text(encoding="utf-8")
    text = re.sub(r"suffix:\n\s+- (\S+)", r"suffix: \1", text)
    refused = infrastructure_manager.create(text.replace("ai-sprint-monit-site.yaml", "no-such-play.yaml"))
    assert refused.status == 400
    assert "no-such-play.yaml" in refused.text
