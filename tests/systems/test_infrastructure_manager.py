"""The real Infrastructure Manager takes every template that `deploy compile --dialect im` writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.systems.infrastructure_manager import InfrastructureManager

pytestmark = pytest.mark.systems

REPOSITORY = Path(__file__).parent.parent.parent
EXPECTED = REPOSITORY / "tests" / "fixtures" / "predecessor" / "expected"
DEPLOYMENTS = REPOSITORY / "tests" / "fixtures" / "predecessor" / "app_demo" / "aisprint" / "deployments"
FILES = {
    **{path.parent.name: path for path in sorted(DEPLOYMENTS.glob("*/production_deployment.yaml"))},
    **{f"example {path.parent.name}": path for path in sorted((REPOSITORY / "examples").glob("*/production.yaml"))},
}
GOLDEN = sorted(path.parent for path in (REPOSITORY / "tests" / "golden").glob("*/production.yaml"))
EXPORTED = sorted((REPOSITORY / "tests" / "golden" / "dialects").glob("*/im/*.yaml"))
OPTIONS = pytest.mark.parametrize(
    "options", [(), ("--elastic", "5"), ("--with-secrets",)], ids=lambda o: (o or ["-"])[0]
)
# Its Dummy cloud cannot tell what becomes of functions on an OSCAR that is there already.
NO_FUNCTIONS = "'DummyCloudConnector' object has no attribute 'auth'"


@pytest.fixture(autouse=True)
def _nothing_is_left(infrastructure_manager: InfrastructureManager) -> Iterator[None]:
    yield
    assert infrastructure_manager.clear() == []


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


def export(file: Path, options: tuple[str, ...], home: Path) -> list[str]:
    """Texts of the templates that ``deploy compile --dialect im`` writes."""
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").write_text("the key of the example's machines\n", encoding="utf-8")
    command = [sys.executable, "-m", "orchestrator.cli.main", "compile", file, "--dialect", "im", *options]
    done = subprocess.run(
        [*command, "-o", home / "exported"],
        cwd=REPOSITORY,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [path.read_text(encoding="utf-8") for path in sorted((home / "exported").glob("*.yaml"))]


def know_everything(production: Path) -> None:
    """Put a file of physical nodes beside it that has all there may be for every resource."""
    system = yaml.safe_load(production.read_text(encoding="utf-8"))["System"]
    domains = system.get("NetworkDomains") or system["Resources"]["NetworkDomains"]
    layers = {}
    for domain in domains.values():
        for key, layer in (domain.get("ComputationalLayers") or {}).items():
            resources = {name: _known(resource) for name, resource in layer["Resources"].items()}
            layers[key] = {"number": layer["number"], "Resources": resources}
    text = yaml.safe_dump({"ComputationalLayers": layers})
    production.with_name("physical_nodes.yaml").write_text(text, encoding="utf-8")


def _known(resource: dict[str, Any]) -> dict[str, Any]:
    host = {"ssh_user": "pi", "ssh_key": "~/.ssh/id_ed25519"}
    workers = range(1, int(resource.get("totalNodes", 1)))
    keys = {"access_key": "name", "secret_key": "word"}
    return {
        "name": resource["name"],
        "fe_node": {"public_ip": "192.0.2.1", "private_ip": "10.0.0.2", **host},
        "wns": [{"private_ip": f"10.0.0.{2 + number}", **host} for number in workers],
        "influx": {"endpoint": "https://influx.example.org", "token": "word"},
        "minio": {"endpoint": "https://minio.example.org", **keys},
        "oscar": {"name": "cluster", "password": "word"},
        "aws": {"bucket": "bucket", "region": "eu-west-1", **keys},
    }


@OPTIONS
@pytest.mark.parametrize("name", FILES)
def test_it_takes_every_template_that_is_exported(
    infrastructure_manager: InfrastructureManager, name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    templates = export(FILES[name], options, tmp_path)
    assert templates
    for template in templates:
        bring_up_and_down(infrastructure_manager, template)


@OPTIONS
@pytest.mark.parametrize("case", GOLDEN, ids=lambda path: path.name)
def test_it_takes_the_golden_cases_once_their_physical_nodes_are_known(
    infrastructure_manager: InfrastructureManager, case: Path, options: tuple[str, ...], tmp_path: Path
) -> None:
    folder = shutil.copytree(case, tmp_path / "case")
    know_everything(folder / "production.yaml")
    templates = export(folder / "production.yaml", options, tmp_path)
    assert templates
    for template in templates:
        bring_up_and_down(infrastructure_manager, template)


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: f"{path.parent.parent.name} {path.stem}")
def test_it_takes_the_golden_exports(infrastructure_manager: InfrastructureManager, path: Path) -> None:
    bring_up_and_down(infrastructure_manager, path.read_text(encoding="utf-8"))


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
