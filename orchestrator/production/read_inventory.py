"""Takes where physical machines are from an Ansible inventory, whose groups are called like resources or layers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.diagnostics import Location
from orchestrator.production.inventory import ALL, Inventory, Variable, Variables, load_inventory
from orchestrator.production.model import Layer, LayerType, Resource
from orchestrator.production.naming import resource_node, sanitise
from orchestrator.production.physical import PhysicalHost, PhysicalResource
from orchestrator.production.read_physical import is_reference, make_host, refuse_password
from orchestrator.topology.reading import Findings

_PHYSICAL = (LayerType.PHYSICAL_TO_BE_PROVISIONED, LayerType.PHYSICAL_ALREADY_PROVISIONED)
_SERVERS = ("server", "servers", "master", "k3s-server", "k3s-servers")
"""Groups whose machines run the servers of their clusters, and come first."""

_PORT = ("ansible_port", "ansible_ssh_port")
_USER = ("ansible_user", "ansible_ssh_user")
_HOST = ("ansible_host", "ansible_ssh_host")
_KEY_FILE = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_BECOME = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
_PASSPHRASE = ("ansible_ssh_private_key_passphrase", "ansible_private_key_passphrase")
_LOGIN_PASSWORD = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
_OPTIONS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
_HOST_KEY = ("machine_host_key",)
_OPTION = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.*)")
_LOOKUP = re.compile(r"""\{\{\s*lookup\(\s*["'](?:ansible\.builtin\.)?env["']\s*,\s*["'](\w+)["']\s*\)\s*\}\}""")


def with_inventory(
    physical: Sequence[PhysicalResource], path: Path, layers: Sequence[Layer], findings: Findings
) -> tuple[PhysicalResource, ...]:
    """What is known of physical machines, with the addresses of an inventory in place of others.

    Args:
        physical: What physical_nodes.yaml says.
        path: The inventory.
        layers: Every layer of the deployment.
        findings: Where reports go.
    """
    inventory = load_inventory(path, findings)
    if inventory is None:
        return tuple(physical)
    found = list(physical)
    named: dict[str, str] = {}
    for layer, resource in [(on, each) for on in layers if on.type in _PHYSICAL for each in on.resources]:
        group = _group_of(layer, resource, layers, inventory, findings)
        if not group:
            continue
        named[group] = resource.name
        made = PhysicalResource(
            layer.number,
            resource.name,
            tuple(_hosts(inventory, group, findings)),
            "",
            "",
            inventory.groups[group].place,
            source=path.name,
        )
        _put(made, found, findings)
    if not named:
        _tell_groups(path, layers, inventory, findings)
    return tuple(found)


def _put(made: PhysicalResource, found: list[PhysicalResource], findings: Findings) -> None:
    """Add a resource's machines; what else is known of it stays."""
    for index, other in enumerate(found):
        if other.layer == made.layer and other.name.casefold() == made.name.casefold():
            if other.hosts:
                detail = f"{other.source} and {made.source} both say where {made.name!r} is; {made.source} was taken."
                findings.warning("Machines are described twice.", detail, made.place, made.name)
            found[index] = replace(other, hosts=made.hosts, place=made.place, source=made.source)
            return
    found.append(made)


def _group_of(
    layer: Layer, resource: Resource, layers: Sequence[Layer], inventory: Inventory, findings: Findings
) -> str:
    """The group that stands for a resource: called like it, or like its layer if that has no other."""
    groups = {sanitise(name): name for name in inventory.groups}
    name = sanitise(resource.name)
    twins = [r for on in layers if on.type in _PHYSICAL for r in on.resources if sanitise(r.name) == name]
    own = (resource_node(layer.number, resource.name), *((name,) if len(twins) == 1 else ()))
    found = next((groups[candidate] for candidate in own if candidate in groups), "")
    if found:
        return found
    of_layer = (f"layer{layer.number}", f"layer-{layer.number}", sanitise(layer.name), sanitise(layer.key))
    found = next((groups[candidate] for candidate in of_layer if candidate in groups), "")
    if found and len(layer.resources) > 1:
        names = ", ".join(repr(resource_node(layer.number, r.name)) for r in layer.resources)
        detail = f"Layer {layer.number} has several resources, so that group {found!r} may be any. Use groups {names}."
        findings.error("A group is ambiguous.", detail, inventory.groups[found].place, resource.name)
        return ""
    return found


def _tell_groups(path: Path, layers: Sequence[Layer], inventory: Inventory, findings: Findings) -> None:
    wanted = [resource_node(on.number, r.name) for on in layers if on.type in _PHYSICAL for r in on.resources]
    if not wanted:
        return
    there = ", ".join(repr(name) for name in inventory.groups if name not in (ALL, "ungrouped")) or "none"
    detail = (
        f"No group of {path.name} is called like a resource or a layer with physical machines, so that nothing was "
        f"taken from it. Its groups: {there}. Expected, for example: {', '.join(map(repr, wanted))}."
    )
    findings.warning("No group fits.", detail, Location(str(path), 1, 1))


def _hosts(inventory: Inventory, group: str, findings: Findings) -> Iterator[PhysicalHost]:
    """The machines of a group, servers before others, else in the order of the file."""
    hosts = inventory.hosts_of(group)
    servers = {h for name in inventory.groups if sanitise(name) in _SERVERS for h in inventory.hosts_of(name)}
    for name in sorted(hosts, key=lambda host: host not in servers):
        host = _host(name, hosts[name], inventory.variables_of(name), findings)
        if host.address:
            yield replace(host, is_server=name in servers)


def _host(name: str, place: Location, variables: Variables, findings: Findings) -> PhysicalHost:
    def take(names: tuple[str, ...]) -> Variable | None:
        return next((variables[n] for n in names if n in variables and variables[n].text), None)

    def text(names: tuple[str, ...]) -> str:
        found = take(names)
        if found is None:
            return ""
        if "{{" in found.text:
            detail = f"{names[0]} of {name} is a template, which only Ansible can fill in. Write its value."
            findings.error("A template is not filled in.", detail, found.place)
            return ""
        return found.text

    connection = take(("ansible_connection",))
    if connection is not None and connection.text not in ("ssh", "smart", "paramiko", "ansible.builtin.ssh"):
        detail = f"{name} is reached by connection {connection.text!r}; machines are reached over SSH."
        findings.error("A connection is not possible.", detail, connection.place)
    login = take(_LOGIN_PASSWORD)
    if login is not None:
        detail = f"{name} is logged in to with a password; machines are logged in to with keys. Put a key there first."
        findings.error("A login is not possible.", detail, login.place)
    return make_host(
        findings,
        place,
        address=text(_HOST) or name,
        user=text(_USER),
        key_file=text(_KEY_FILE),
        port=text(_PORT),
        jump=_jump(name, variables, findings),
        become_password=_reference(name, take(_BECOME), findings),
        key_passphrase=_reference(name, take(_PASSPHRASE), findings),
        host_key=text(_HOST_KEY),
    )


def _reference(name: str, variable: Variable | None, findings: Findings) -> str:
    """A reference to a secret; the usual way to write an environment variable is taken for one."""
    if variable is None:
        return ""
    text = variable.text.strip()
    looked_up = _LOOKUP.fullmatch(text)
    if looked_up:
        return f"env:{looked_up[1]}"
    if is_reference(text):
        return text
    refuse_password(findings, f"A password of {name}", variable.place)
    return ""


def _jump(name: str, variables: Variables, findings: Findings) -> str:
    """The machines on the way that options of SSH name."""
    found = ""
    for variable in (variables[key] for key in _OPTIONS if key in variables and variables[key].text.strip()):
        try:
            words = iter(shlex.split(variable.text))
        except ValueError:
            words = iter(())
        unknown: list[str] = []
        found = _way(words, unknown) or found
        if unknown:
            detail = f"SSH options of {name} were left out, besides the machines on the way: {len(unknown)} of them."
            findings.warning("An SSH option is left out.", detail, variable.place)
    return found


def _way(words: Iterator[str], unknown: list[str]) -> str:
    found = ""
    for word in words:
        option = word
        if word in ("-J", "-o"):
            option = word + next(words, "")
        if option.startswith("-J"):
            found = option[2:]
            continue
        named = _OPTION.fullmatch(option.removeprefix("-o").strip())
        taken = _TAKEN.get(named[1].casefold()) if named else None
        if named is None or taken is None:
            unknown.append(option)
        else:
            found = taken(named[2]) or found
    return found


def _of_proxy_command(command: str) -> str:
    """The machine that a command of the usual form goes through: ``ssh -W %h:%p [-p PORT] [-q] user@host``."""
    words = [w for w in command.split() if w not in ("-q", "-W", "%h:%p", "ssh", "exec", "-W%h:%p")]
    port = ""
    if "-p" in words:
        index = words.index("-p")
        port = f":{words[index + 1]}" if index + 1 < len(words) else ""
        del words[index : index + 2]
    return words[0] + port if len(words) == 1 else command


_TAKEN: dict[str, Callable[[str], str]] = {
    "proxyjump": lambda value: value,
    "proxycommand": _of_proxy_command,
    # What is the case here anyway.
    "stricthostkeychecking": lambda _: "",
    "userknownhostsfile": lambda _: "",
    "controlmaster": lambda _: "",
    "controlpersist": lambda _: "",
    "controlpath": lambda _: "",
    "identitiesonly": lambda _: "",
}
