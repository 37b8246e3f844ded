"""A cluster whose API nobody outside reaches is looked at over SSH to its first machine."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from threading import Event

from orchestrator.executors.ansible import AnsibleExecutor
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Presence
from orchestrator.providers.base import DeploymentTag
from orchestrator.remote.keys import generate_key
from orchestrator.state.model import InstanceRecord
from tests.secrets_in_memory import memory_secrets
from tests.unit.remote.openssh_server import USER, openssh_server
from tests.unit.standins.k3s_machine import Node

PRIVATE, PUBLIC = generate_key()
CONFIGURE = Operation("configure", "continuum.artifacts.AnsiblePlaybook", "playbooks/site.yml")
CLUSTER = DesiredInstance(
    "cloud-k3s", "cloud-k3s", "T", requirements={"machine": ("cloud[0]",)}, operations={"configure": CONFIGURE}
)


def look(folder: Path, machine: InstanceRecord) -> tuple[Presence, str]:
    attributes = {"kubeconfig": "kubeconfig/cloud.yaml", "nodes": ["pi-0"]}
    cluster = InstanceRecord("cloud-k3s", "cloud-k3s", "T", inputs=CLUSTER.inputs, attributes=attributes)
    request = OperationRequest(
        DeploymentTag("shop", "l"),
        Action.READ,
        "configure",
        CONFIGURE,
        CLUSTER,
        cluster,
        {"cloud[0]": machine, "cloud-k3s": cluster},
        {},
        Folders(folder, folder, folder, folder),
        memory_secrets({"ssh-key": PRIVATE}),
        lambda _line: None,
        Event(),
    )
    seen = AnsibleExecutor().observe(request)
    return seen.presence, seen.detail


def test_the_api_is_asked_where_only_the_machine_reaches_it(server: Node, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig" / "cloud.yaml"
    kubeconfig.parent.mkdir()
    shutil.copy(server.root / "etc/rancher/k3s/k3s.yaml", kubeconfig)
    text = kubeconfig.read_text(encoding="utf-8")
    # As seen from here nothing answers at this address.
    kubeconfig.write_text(text.replace("https://127.0.0.1:", "https://192.0.2.1:"), encoding="utf-8")
    with openssh_server(tmp_path / "ssh", PUBLIC) as gate:
        where = {"host": "127.0.0.1", "port": gate.port, "user": USER, "host_key": gate.host_key}
        machine = InstanceRecord(
            "cloud[0]", "cloud", "T", "aws/one", attributes={**where, "private_address": "10.0.0.1"}
        )
        assert look(tmp_path, machine) == (Presence.PRESENT, "1 node ready")
        other = replace(machine, attributes={**machine.attributes, "host_key": generate_key()[1]})
        presence, detail = look(tmp_path, other)
        assert presence is Presence.DEGRADED
        assert "is pinned to" in detail
