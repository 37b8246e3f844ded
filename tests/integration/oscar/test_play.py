"""The play that installs the stand-in, on a machine with systemd: twice, used, and removed again."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clients.object_store import open_store
from orchestrator.clients.oscar import OscarClient, observe_oscar
from orchestrator.planning.observation import Presence
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest
from orchestrator.resources import data_path
from orchestrator.standin_files import standin_path
from orchestrator.state.model import InstanceRecord

pytestmark = [
    pytest.mark.engine,
    # The engine's client leaves the connection of a command that ran in a container to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

SECRETS = {"oscar_password": "the-password", "oscar_store_secret_key": "the-store-key"}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    from orchestrator.clients.engine import engine_architecture
    from orchestrator.providers.local.provider import LocalProvider

    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30)
    lineage = uuid.uuid4().hex
    deployment = DeploymentTag(f"test-{lineage[:8]}", lineage)
    provider = LocalProvider()
    wanted = MachineRequest(
        deployment=deployment,
        address="board",
        token="token",
        hostname="board",
        architecture=engine_architecture(),
        cpus=2,
        memory_mb=1024,
        authorized_key=key.with_suffix(".pub").read_text(encoding="ascii"),
    )
    try:
        yield provider.create(wanted)
    finally:
        for made in provider.find(deployment):
            provider.delete(made.id)
        provider.release(deployment)
        gc.collect()


@pytest.fixture
def play(machine: Machine, tmp_path: Path) -> Any:
    """Runs a play on the machine and gives what it printed."""
    known = tmp_path / "known_hosts"
    known.write_text(f"{machine.host} {machine.host_key}\n", encoding="ascii")
    variables = {
        "ansible_host": machine.host,
        "ansible_port": machine.port,
        "ansible_user": machine.user,
        "ansible_ssh_private_key_file": str(tmp_path / "id"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o ConnectionAttempts=30",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"server": {"hosts": {"board": variables}}}))
    extra = tmp_path / "variables.json"
    extra.write_text(json.dumps({**SECRETS, "oscar_program_file": str(standin_path("oscar_standin.py"))}))

    def run(name: str) -> str:
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "-e", f"@{extra}"]
        environment = {
            **os.environ,
            "ANSIBLE_SHOW_CUSTOM_STATS": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
        }
        done = subprocess.run(
            [*command, str(data_path("playbooks", name))],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for secret in SECRETS.values():
            assert secret not in done.stdout
        return done.stdout

    return run


def changed(output: str) -> int:
    found = re.search(r"changed=(\d+)", output)
    assert found, output
    return int(found[1])


def test_it_is_installed_answers_stays_and_goes(machine: Machine, play: Any) -> None:
    output = play("oscar_standin.yml")
    assert changed(output) > 0
    stats = json.loads(output[output.index("RUN:") + 4 :])["attributes"]
    assert stats["endpoint"] == f"https://{machine.host}:30301"
    client = OscarClient(stats["endpoint"], stats["user"], SECRETS["oscar_password"], stats["ca_cert"], 5)
    assert "standin" in client.read_version()
    key = SECRETS["oscar_store_secret_key"]
    with open_store(stats["store_endpoint"], stats["access_key"], key, ca_cert=stats["ca_cert"]) as store:
        store.client.create_bucket(Bucket="pictures")

    again = play("oscar_standin.yml")
    assert changed(again) == 0
    assert json.loads(again[again.index("RUN:") + 4 :])["attributes"] == stats

    record = InstanceRecord("oscar", "oscar", "continuum.nodes.Oscar", attributes=stats)
    assert observe_oscar(record).presence is Presence.PRESENT
    assert changed(play("oscar_standin_reset.yml")) > 0
    assert changed(play("oscar_standin_reset.yml")) == 0
    assert observe_oscar(record).presence is Presence.DEGRADED
