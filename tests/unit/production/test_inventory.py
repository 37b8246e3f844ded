"""Machines from an Ansible inventory, in both forms, held against what Ansible itself reads from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.production.inventory import load_inventory
from orchestrator.production.layout import ReadOptions
from orchestrator.production.load import Loaded, load_production
from orchestrator.production.physical import PhysicalHost
from orchestrator.services.load import load_topology
from orchestrator.topology.reading import Findings

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "mask-detection"

INI = """\
# The boards of the shop floor.
lonely ansible_host=192.0.2.99
[all:vars]
ansible_user=everybody

[rasppi]
pi[01:02] ansible_port=2222   # two of them
third:2022 ansible_host="192.0.2.12" ansible_user=own

[server]
third

[outer:children]
rasppi
[outer:vars]
ansible_user = 'outer'
ansible_ssh_private_key_file = ~/.ssh/boards
"""

YAML = """\
all:
  vars: {ansible_user: everybody}
  hosts:
    lonely: {ansible_host: 192.0.2.99}
  children:
    server: {hosts: {third: }}
    outer:
      vars: {ansible_user: outer, ansible_ssh_private_key_file: ~/.ssh/boards}
      children:
        rasppi:
          hosts:
            pi[01:02]: {ansible_port: 2222}
            third: {ansible_host: 192.0.2.12, ansible_port: 2022, ansible_user: own}
"""


def read(folder: Path, text: str, name: str, *, physical: bool = False) -> Loaded:
    """The example with an inventory beside its production file."""
    for path in GOLDEN.iterdir():
        if path.name != "topology.yaml" and (physical or path.name != "physical_nodes.yaml"):
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_text(text, encoding="utf-8")
    return load_production(folder / "production.yaml")


def hosts(loaded: Loaded) -> tuple[PhysicalHost, ...]:
    assert loaded.model is not None
    return tuple(host for found in loaded.model.physical for host in found.hosts)


def said(loaded: Loaded) -> list[tuple[str, str, int]]:
    """Findings about the inventory."""
    found = [d for d in loaded.diagnostics if d.location and "inventory" in d.location.file]
    return [(d.severity.value, d.summary, d.location.line if d.location else 0) for d in found]


def both(text: str, tmp_path: Path, name: str) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """What Ansible reads, and what we do: variables by host."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(path), "--list"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)
    inventory = load_inventory(path, Findings())
    assert inventory is not None
    names = {host for group in inventory.groups for host in inventory.hosts_of(group)}
    return listed, {n: {k: v.text for k, v in inventory.variables_of(n).items()} for n in names}


@pytest.mark.parametrize(("text", "name"), [(INI, "inventory.ini"), (YAML, "inventory.yml")])
def test_ansible_reads_the_same(tmp_path: Path, text: str, name: str) -> None:
    listed, ours = both(text, tmp_path, name)
    theirs = listed["_meta"]["hostvars"]
    assert set(ours) == set(theirs) == {"lonely", "pi01", "pi02", "third"}
    assert ours == {host: {k: str(v) for k, v in variables.items()} for host, variables in theirs.items()}


@pytest.mark.parametrize(("text", "name"), [(INI, "inventory.ini"), (YAML, "inventory.yml")])
def test_machines_come_from_the_group_of_their_resource_servers_first(tmp_path: Path, text: str, name: str) -> None:
    loaded = read(tmp_path, text, name)
    assert said(loaded) == []
    assert hosts(loaded) == (
        PhysicalHost("192.0.2.12", "own", "~/.ssh/boards", 2022, is_server=True),
        PhysicalHost("pi01", "outer", "~/.ssh/boards", 2222),
        PhysicalHost("pi02", "outer", "~/.ssh/boards", 2222),
    )


@pytest.mark.parametrize(("servers", "wanted"), [("third", None), ("third\npi01\npi02", 3)])
def test_the_group_server_says_how_many_servers_a_cluster_has(tmp_path: Path, servers: str, wanted: int | None) -> None:
    read(tmp_path, INI.replace("third\n\n[outer", f"{servers}\n\n[outer"), "inventory.ini")
    cluster = load_topology(tmp_path / "production.yaml").topology.nodes["layer1-rasppi-k3s"]
    assert cluster.properties.get("servers") == wanted


def test_they_reach_the_template(tmp_path: Path) -> None:
    read(tmp_path, INI + "ansible_become_password=secret:sudo\nansible_ssh_common_args='-J a@b:23'\n", "inventory.ini")
    node = load_topology(tmp_path / "production.yaml").topology.nodes["layer1-rasppi"]
    listed = node.properties["hosts"]
    assert isinstance(listed, list)
    assert listed[0] == {
        "host": "192.0.2.12",
        "user": "own",
        "key_file": "~/.ssh/boards",
        "port": "2022",
        "jump": "a@b:23",
        "become_password": "secret:sudo",
    }


@pytest.mark.parametrize("group", ["rasppi", "Rasp_Pi", "layer1-rasppi", "layer1", "layer_1", "edge_layer"])
def test_a_group_is_called_like_the_resource_or_its_layer(tmp_path: Path, group: str) -> None:
    if group == "Rasp_Pi":
        assert said(read(tmp_path, f"[{group}]\na\n", "inventory.ini")) == [("warning", "No group fits.", 1)]
        return
    loaded = read(tmp_path, f"[{group}]\na\nb\nc\n", "inventory.ini")
    assert [host.address for host in hosts(loaded)] == ["a", "b", "c"]


def test_it_comes_before_physical_nodes_and_says_so(tmp_path: Path) -> None:
    loaded = read(tmp_path, INI, "inventory.ini", physical=True)
    assert said(loaded) == [("warning", "Machines are described twice.", 6)]
    assert [host.port for host in hosts(loaded)] == [2022, 2222, 2222]


def test_one_can_be_named_and_one_elsewhere_is_not_found(tmp_path: Path) -> None:
    read(tmp_path, INI, "elsewhere.ini")
    assert hosts(load_production(tmp_path / "production.yaml")) == ()
    options = ReadOptions(files={"inventory": tmp_path / "elsewhere.ini"})
    assert len(hosts(load_production(tmp_path / "production.yaml", options))) == 3


@pytest.mark.parametrize(
    ("variable", "way"),
    [
        ("-J pi@a:22,b", "pi@a:22,b"),
        ("-o ProxyJump=a", "a"),
        ('-o ProxyCommand="ssh -W %h:%p -q -p 23 pi@a"', "pi@a:23"),
        ("-oProxyJump=a -o StrictHostKeyChecking=yes", "a"),
    ],
)
def test_the_way_is_taken_from_the_options_of_ssh(tmp_path: Path, variable: str, way: str) -> None:
    text = f"[rasppi:vars]\nansible_ssh_common_args={variable}\n[rasppi]\na\nb\nc\n"
    loaded = read(tmp_path, text, "inventory.ini")
    assert said(loaded) == []
    assert {host.jump for host in hosts(loaded)} == {way}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[rasppi]\na ansible_become_password=hidden-word\n", [("error", "A password is written out.", 2)]),
        ("[rasppi]\na ansible_password=hidden-word\n", [("error", "A login is not possible.", 2)]),
        ("[rasppi]\na ansible_connection=local\n", [("error", "A connection is not possible.", 2)]),
        ("[rasppi]\na ansible_host='{{ x }}'\n", [("error", "A template is not filled in.", 2)]),
        ("[rasppi]\na ansible_host=-oProxyCommand=x\n", [("error", "An address is not understood.", 2)]),
        ("[rasppi]\na ansible_user=-lroot\n", [("error", "A login name is not understood.", 2)]),
        ("[rasppi]\na ansible_port=0\n", [("error", "A port is not understood.", 2)]),
        ("[rasppi]\na ansible_ssh_common_args='-J -oX=y'\n", [("error", "A way is not understood.", 2)]),
        ("[rasppi]\na ansible_ssh_common_args='-C'\n", [("warning", "An SSH option is left out.", 2)]),
        ("[rasppi]\na 'hidden-word\n", [("error", "A line of the inventory is not understood.", 2)]),
        ("[rasppi]\na hidden-word\n", [("error", "A line of the inventory is not understood.", 2)]),
        ("[rasppi]\npi[5:1]\n", [("error", "A range is not understood.", 2)]),
        ("[rasppi]\npi[0:9][0:9999]\n", [("error", "A range is not understood.", 2)]),
        ("[rasppi:verse]\n", [("error", "A section is not understood.", 1)]),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", [("error", "A vault is not read.", 1)]),
    ],
)
def test_what_cannot_be_is_refused_at_its_line_without_a_secret(
    tmp_path: Path, text: str, found: list[tuple[str, str, int]]
) -> None:
    loaded = read(tmp_path, text, "inventory.ini")
    assert found[0] in said(loaded)
    assert "hidden-word" not in repr(loaded.diagnostics)


def test_a_vault_value_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = "rasppi:\n  hosts:\n    a:\n      ansible_become_password: !vault |\n        $ANSIBLE_VAULT;1.1\n"
    loaded = read(tmp_path, text, "inventory.yml")
    (found,) = [d for d in loaded.diagnostics if d.summary == "A vault is not read."]
    assert found.location is not None
    assert found.location.line == 4
    assert "secret:NAME" in found.detail


def test_the_usual_way_to_write_a_variable_is_a_reference(tmp_path: Path) -> None:
    text = "[rasppi]\na ansible_become_pass=\"{{ lookup('env', 'PI_SUDO') }}\"\n"
    assert [h.become_password for h in hosts(read(tmp_path, text, "inventory.ini"))] == ["env:PI_SUDO"]


def test_variables_beside_it_are_read_as_ansible_does(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("ansible_user: everybody\nansible_port: 23\n")
    (tmp_path / "group_vars" / "rasppi").write_text("ansible_port: 24\n")
    (tmp_path / "host_vars" / "a.yaml").write_text("ansible_port: 25\n")
    listed, ours = both("[rasppi]\na\nb\n", tmp_path, "inventory.ini")
    assert ours == {h: {k: str(v) for k, v in said.items()} for h, said in listed["_meta"]["hostvars"].items()}
    assert [(h.user, h.port) for h in hosts(read(tmp_path, "[rasppi]\na\nb\n", "inventory.ini"))] == [
        ("everybody", 25),
        ("everybody", 24),
    ]


def test_groups_inside_each_other_without_end_are_borne(tmp_path: Path) -> None:
    loaded = read(tmp_path, "[rasppi:children]\nb\n[b:children]\nrasppi\n[b]\nx\n", "inventory.ini")
    assert [host.address for host in hosts(loaded)] == ["x"]
