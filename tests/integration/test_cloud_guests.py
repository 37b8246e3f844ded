"""From "the instance runs" to "the cluster answers": a machine of the local provider stands for each guest of EC2."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.clients.engine import connect, engine_architecture
from orchestrator.providers.base import DeploymentTag
from orchestrator.providers.registry import PROVIDERS
from orchestrator.services.deployment import open_for_reading
from orchestrator.standin_files import standin_path
from tests.contract.aws_bed import ARM_IMAGE, IMAGE, REGION
from tests.integration.cloud_guests import PROVIDER, ContainerGuests
from tests.moto_server import aws_settings

pytestmark = pytest.mark.engine

FROM = ("--ssh-from", "203.0.113.7/32")
Deploy = Callable[..., str]


@pytest.fixture
def guests(aws_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ContainerGuests]:
    aws_settings(monkeypatch, aws_server)
    monkeypatch.setitem(PROVIDERS, "aws", PROVIDER)
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    lineage = uuid.uuid4().hex
    ContainerGuests.current = ContainerGuests(DeploymentTag(f"guests-{lineage[:8]}", lineage))
    yield ContainerGuests.current
    main(["destroy", "shop", "--auto-approve"])
    ContainerGuests.current.clear()


@pytest.fixture
def deploy(guests: ContainerGuests, capfd: pytest.CaptureFixture[str]) -> Deploy:
    del guests

    def run(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        shown = capfd.readouterr()
        assert code == 0, f"exit {code}\n{shown.out}\n{shown.err}"
        return shown.out + shown.err

    return run


def template(folder: Path) -> Path:
    architecture = engine_architecture()
    image = ARM_IMAGE if architecture == "arm64" else IMAGE
    flavor = "t4g.small" if architecture == "arm64" else "t3.small"
    scale = dict.fromkeys(("min_instances", "max_instances", "default_instances"), 2)
    machines: dict[str, Any] = {
        "type": "continuum.nodes.VirtualMachine",
        "properties": {"resource": "Cloud", "layer": 1, "image_id": f"aws://{REGION}/{image}", "flavor": flavor},
        "capabilities": {
            "host": {"properties": {"num_cpus": 1, "mem_size": "512 MB"}},
            "os": {"properties": {"architecture": architecture}},
            "scalable": {"properties": scale},
        },
    }
    cluster = {
        "type": "continuum.nodes.K3sCluster",
        "properties": {"cluster_name": "cloud", "token": "secret:cloud-k3s-token"},
        "requirements": [{"machine": {"node": "cloud", "relationship": "tosca.relationships.HostedOn"}}],
    }
    content = {
        "tosca_definitions_version": "tosca_simple_yaml_1_3",
        "metadata": {"template_name": "shop"},
        "imports": ["continuum.yaml"],
        "topology_template": {"node_templates": {"cloud": machines, "cloud-k3s": cluster}},
    }
    path = folder / "shop.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_machines_of_a_cloud_become_a_cluster(deploy: Deploy, guests: ContainerGuests, tmp_path: Path) -> None:
    file = template(tmp_path)
    apply = ("apply", file, *FROM, "--k3s-binary", standin_path("k3s_standin"), "--auto-approve")
    deploy(*apply)
    state = open_for_reading("shop").state
    assert state is not None
    for number in range(2):
        record = state.instances[f"cloud[{number}]"].attributes
        guest = guests.machines[str(record["machine_id"])]
        shown = connect().containers.get(guest.id).exec_run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
        assert shown.output.decode().strip() == record["host_key"] != record["first_host_key"]
        assert f"cloud-{number}" in deploy("ssh", "shop", f"cloud[{number}]", "--", "hostname")
    nodes = deploy("ssh", "shop", "cloud[0]", "--", "sudo", "k3s", "kubectl", "get", "nodes", "-o", "name")
    assert all(f"node/cloud-{number}" in nodes for number in range(2))
    told = deploy("plan", file, *FROM, "--k3s-binary", standin_path("k3s_standin"), "--json")
    plan, _ = json.JSONDecoder().raw_decode(told)
    assert {change["action"] for change in plan["changes"]} == {"no-op"}
    deploy("destroy", "shop", "--auto-approve")
    assert guests.machines == {}
