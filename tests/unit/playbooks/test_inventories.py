"""The inventories for people: Ansible reads them, and the roles accept every variable that they set."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.plays_by_hand import PLAYBOOKS, REPOSITORY, list_inventory, play_well

INVENTORIES = sorted((REPOSITORY / "inventories").glob("*.yml"))
ROLES = sorted(path.parent.parent.name for path in (PLAYBOOKS / "roles").glob("k3s_*/meta/argument_specs.yml"))
DOCUMENTATION = [ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
OTHER_VARIABLES = {"deployment_folder"}


def write_contract(folder: Path) -> Path:
    """A play of one role that has defaults and specifications of all roles and does nothing; it connects to nothing."""
    defaults: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for role in ROLES:
        path = PLAYBOOKS / "roles" / role
        for file in (path / "defaults" / "main.yml", path / "vars" / "main.yml"):
            defaults |= yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
        specified = yaml.safe_load((path / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
        for name, option in specified["argument_specs"]["main"].get("options", {}).items():
            # What another role hands over is not the inventory's business.
            options[name] = {key: value for key, value in option.items() if key != "required"}
    contract = folder / "roles" / "contract"
    for name, content in {"defaults": defaults, "tasks": []}.items():
        (contract / name).mkdir(parents=True)
        (contract / name / "main.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (contract / "meta").mkdir()
    specification = {"argument_specs": {"main": {"short_description": "All roles", "options": options}}}
    (contract / "meta" / "argument_specs.yml").write_text(yaml.safe_dump(specification), encoding="utf-8")
    playbook = folder / "validate.yml"
    play = {"name": "Validate", "hosts": "server:agent", "gather_facts": False, "connection": "local"}
    playbook.write_text(yaml.safe_dump([{**play, "roles": ["contract"]}]), encoding="utf-8")
    return playbook


def hosts_of(listed: dict[str, Any], group: str) -> list[str]:
    hosts: list[str] = listed.get(group, {}).get("hosts", [])
    return hosts


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.stem)
def test_ansible_finds_servers_and_agents(inventory: Path) -> None:
    listed = list_inventory(inventory)
    servers, agents = hosts_of(listed, "server"), hosts_of(listed, "agent")
    assert len(servers) % 2 == 1, "etcd wants an odd number of servers"
    assert not set(servers) & set(agents)
    assert set(listed["_meta"]["hostvars"]) == {*servers, *agents}
    addresses = [listed["_meta"]["hostvars"][name]["ansible_host"] for name in (*servers, *agents)]
    assert len(set(addresses)) == len(addresses)
    assert all(any(ipaddress.ip_address(each) in net for net in DOCUMENTATION) for each in addresses)
    assert f"{inventory.name} " in inventory.read_text(encoding="utf-8"), "it says how it is used"


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.stem)
def test_the_plays_know_every_variable_and_the_roles_accept_its_value(inventory: Path, tmp_path: Path) -> None:
    words = {name for vars_ in list_inventory(inventory)["_meta"]["hostvars"].values() for name in vars_}
    own = {name for name in words if not name.startswith("ansible_")} - OTHER_VARIABLES
    texts = [path.read_text(encoding="utf-8") for path in (PLAYBOOKS / "roles").rglob("*.yml")]
    known = {name for text in texts for name in re.findall(r"\bk3s_\w+", text)}
    assert own <= known, f"no role reads {sorted(own - known)}"
    validated = play_well(write_contract(tmp_path), inventory)
    assert "Validating arguments" in validated.output


def test_a_wrong_value_would_be_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="k3s_prerequisites_memory_mb"):
        play_well(write_contract(tmp_path), INVENTORIES[0], {"k3s_prerequisites_memory_mb": "much"})
