"""The inventory that is printed, as Ansible reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.remote.inventory import InventoryHost
from orchestrator.remote.inventory import render_inventory as render_for_plays
from tests.unit.remote.openssh_server import USER, openssh_server, write_key

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "mask-detection"
CLUSTER = "layer1-rasppi-k3s"
Print = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example with an inventory that has everything."""
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / ".deploy"))
    monkeypatch.setenv("HIDDEN", "hidden-word")
    for path in GOLDEN.glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "inventory.ini").write_text(
        "[rasppi]\n"
        "a ansible_host=192.0.2.1 ansible_port=2222 ansible_become_password=env:HIDDEN\n"
        "b ansible_host=192.0.2.2 ansible_ssh_common_args='-J gate@192.0.2.9:23,last'\n"
        "c ansible_host=192.0.2.3 ansible_become_password=secret:sudo\n"
        "[rasppi:vars]\nansible_user=1e3\nansible_ssh_private_key_file='~/my keys/id'\n"
    )
    return tmp_path / "production.yaml"


@pytest.fixture
def shown(file: Path, capsys: pytest.CaptureFixture[str]) -> Print:
    def run(*arguments: object, expect: int = 0) -> str:
        code = main(["inventory", str(file), *map(str, arguments)])
        out = capsys.readouterr()
        assert code == expect, out.err
        assert "hidden-word" not in out.out + out.err
        return out.out if code == 0 else out.err

    return run


def listed(folder: Path, text: str, name: str) -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(path), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "WARN" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    found["_meta"].pop("profile", None)
    return found


def test_ansible_reads_the_same_from_every_form(shown: Print, tmp_path: Path) -> None:
    read = {
        form: listed(tmp_path, shown("--cluster", CLUSTER, "--format", form), f"by-hand.{form}")
        for form in ("yaml", "ini", "json")
    }
    assert read["yaml"] == read["ini"] == read["json"]
    assert read["yaml"]["server"]["hosts"] == ["layer1-rasppi-0"]
    assert read["yaml"]["agent"]["hosts"] == ["layer1-rasppi-1", "layer1-rasppi-2"]
    assert read["yaml"]["layer1_rasppi_k3s"]["children"] == ["server", "agent"]
    assert sorted(read["yaml"]["layer1_rasppi_k3s"]) == ["children"]
    hosts = read["yaml"]["_meta"]["hostvars"]
    first = hosts["layer1-rasppi-0"]
    assert (first["ansible_host"], first["ansible_port"], first["ansible_user"]) == ("192.0.2.1", 2222, "1e3")
    assert first["ansible_ssh_private_key_file"] == "~/my keys/id"
    assert first["ansible_become_password"] == "{{ lookup('ansible.builtin.env', 'HIDDEN') }}"
    assert first["k3s_cluster_name"] == "layer1-rasppi"
    assert first["k3s_node_labels"] == {"continuum/layer": "1", "continuum/resource": "rasppi"}
    assert hosts["layer1-rasppi-1"]["ansible_ssh_common_args"] == "-o ProxyJump=gate@192.0.2.9:23,1e3@last:22"
    assert "ansible_become_password" not in hosts["layer1-rasppi-2"]
    assert "k3s_token" not in first


def test_it_has_the_machines_that_a_play_of_ours_gets(shown: Print, tmp_path: Path) -> None:
    names = [f"layer1-rasppi-{i}" for i in range(3)]
    made = [
        InventoryHost(n, f"192.0.2.{i + 1}", 2222 if i == 0 else 22, "1e3", None, f"layer1-rasppi[{i}]", "arm64")
        for i, n in enumerate(names)
    ]
    ours = listed(tmp_path, render_for_plays({"server": made[:1], "agent": made[1:]}), "ours.yaml")
    printed = listed(tmp_path, shown("--cluster", CLUSTER), "printed.yaml")
    assert printed["server"] == ours["server"]
    assert printed["agent"] == ours["agent"]
    for name in names:
        theirs = ours["_meta"]["hostvars"][name]
        assert theirs.items() <= printed["_meta"]["hostvars"][name].items()


def test_three_servers_of_the_input_are_three_servers_of_the_plays(shown: Print, file: Path, tmp_path: Path) -> None:
    inventory = file.with_name("inventory.ini")
    inventory.write_text(inventory.read_text() + "[server]\nc\na\nb\n")
    groups = listed(tmp_path, shown("--cluster", CLUSTER), "printed.yaml")
    assert groups["server"]["hosts"] == [f"layer1-rasppi-{i}" for i in range(3)]
    assert not groups.get("agent", {}).get("hosts")


def test_several_clusters_have_a_group_each(shown: Print, tmp_path: Path) -> None:
    text = shown()
    assert "choose it with --cluster NAME (layer1-rasppi-k3s, layer2-cloudvm-k3s)" in text
    assert "not known yet where these are: layer2-cloudvm[0], layer2-cloudvm[1]" in text
    groups = listed(tmp_path, text, "all.yaml")
    assert "server" not in groups
    assert len(groups["layer1_rasppi_k3s"]["hosts"]) == 3


def test_a_cluster_that_is_not_there(shown: Print) -> None:
    assert "there is: layer1-rasppi-k3s, layer2-cloudvm-k3s" in shown("--cluster", "nowhere", expect=2)


def test_a_person_s_ansible_works_with_it(shown: Print, file: Path, tmp_path: Path) -> None:
    key = tmp_path / "owner"
    public = write_key(key)
    with openssh_server(tmp_path / "server", public) as server:
        (file.parent / "inventory.ini").write_text(
            f"[rasppi]\n127.0.0.1 ansible_port={server.port} ansible_user={USER} ansible_ssh_private_key_file={key}\n"
        )
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
        for form in ("yaml", "ini", "json"):
            inventory = tmp_path / f"by-hand.{form}"
            inventory.write_text(shown("--cluster", CLUSTER, "--format", form), encoding="utf-8")
            done = subprocess.run(
                [
                    str(Path(sys.executable).with_name("ansible")),
                    "server",
                    f"--inventory={inventory}",
                    f"--ssh-common-args=-F /dev/null -o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=yes",
                    "--module-name=ansible.builtin.raw",
                    "--args=echo {{ machine_address }} {{ k3s_cluster_name }}",
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert "layer1-rasppi[0] layer1-rasppi" in done.stdout, done.stdout + done.stderr
