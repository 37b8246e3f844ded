"""The inventory that a play gets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from orchestrator.remote.inventory import InventoryHost, render_inventory

HOST = InventoryHost("pi-0", "10.0.0.2", 22, "deploy", Path("/keys/id_ed25519"), "edge-raspi[0]", "arm64")


def test_groups_and_host_variables() -> None:
    loaded = yaml.safe_load(render_inventory({"server": [HOST], "agent": []}))
    groups = loaded["all"]["children"]
    assert groups["agent"]["hosts"] == {}
    assert groups["server"]["hosts"]["pi-0"] == {
        "ansible_host": "10.0.0.2",
        "ansible_port": 22,
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": "/keys/id_ed25519",
        "machine_address": "edge-raspi[0]",
        "machine_architecture": "arm64",
    }


def test_text_that_yaml_would_take_for_something_else_stays_text() -> None:
    odd = InventoryHost("no", "1e3", 22, "yes", Path("/a: b #c"), 'x[0]"\n')
    host = yaml.safe_load(render_inventory({"server": [odd]}))["all"]["children"]["server"]["hosts"]["no"]
    assert (host["ansible_host"], host["ansible_user"]) == ("1e3", "yes")
    assert (host["ansible_ssh_private_key_file"], host["machine_address"]) == ("/a: b #c", 'x[0]"\n')


def test_ansible_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(render_inventory({"server": [HOST], "agent": []}))
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(path), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    listed = json.loads(done.stdout)
    assert listed["server"]["hosts"] == ["pi-0"]
    assert listed["_meta"]["hostvars"]["pi-0"]["machine_address"] == "edge-raspi[0]"
