"""Who reaches the machines of a cloud: rules exactly as asked for, and their texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from orchestrator.errors import ProviderError
from orchestrator.providers.base import MachineRequest

CLUSTER_PORTS = (
    ("tcp", 2379, 2380),
    ("tcp", 6443, 6443),
    ("tcp", 10250, 10250),
    ("udp", 8472, 8472),
    ("udp", 51820, 51821),
)
"""What nodes of K3s need of each other: etcd, API server, kubelet, and either way of carrying packets of pods."""

SSH = ("tcp", 22, 22)
ALL = "-1"
"""The protocol of a rule for all protocols."""

EVERYBODY = ("0.0.0.0/0", "::/0")
BEHIND = "-behind"
"""End of the name of the group of machines that are reached through another one of theirs."""

OTHER = "group "
"""What the text of a group begins with that is not ours."""


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One port range that is open to one source: a network, or the members of a group.

    Attributes:
        protocol: ``tcp``, ``udp``, …, or ``ALL`` of them.
        first: First port; -1 for all.
        last: The last one.
        source: To whom.
    """

    protocol: str
    first: int
    last: int
    source: str

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        ports = "" if self.protocol == ALL or self.first < 0 else f" {ports}"
        return f"{'everything' if self.protocol == ALL else self.protocol}{ports} from {self.source}"


def rules_of(request: MachineRequest) -> dict[str, frozenset[Rule]]:
    """What each group of a machine has to let in, by the end of the group's name.

    Members are written as ``members of <group>``.
    """
    access = request.access
    group = access.group or request.address
    wanted = {Rule(*SSH, _as_told(network)) for network in access.ssh_from}
    wanted |= {Rule("tcp", port, port, network) for port in access.public_ports for network in EVERYBODY}
    if access.group:
        wanted |= {Rule(*ports, members_of(group)) for ports in CLUSTER_PORTS}
    found = {group: frozenset(wanted)}
    if access.jump:
        found[f"{group}{BEHIND}"] = frozenset({Rule(*SSH, members_of(group))})
    return found


def _as_told(network: str) -> str:
    """A network as clouds tell it: ``203.0.113.7/24`` is ``203.0.113.0/24`` there, and one address has a length too."""
    try:
        return str(ip_network(network, strict=False))
    except ValueError as error:
        raise ProviderError(
            "A network cannot be understood.",
            detail=f"SSH is to be open from {network!r}: {error}.",
            resolution="Write it as `203.0.113.7/32` or `2001:db8::/64` (`--ssh-from`).",
        ) from error


def members_of(group: str) -> str:
    """How the members of a group are written as a source."""
    return f"members of {group}"


def main_group(groups: Iterable[str], address: str) -> str:
    """What a machine's main group is for, of all of ours that it is in; its node template if it is in none.

    Args:
        groups: What each of them is for.
        address: The machine's own address.
    """
    main = next((group for group in sorted(groups) if group and not group.endswith(BEHIND)), "")
    return main or address.partition("[")[0]


def parse_rule(text: str) -> Rule:
    """A rule from its text."""
    opened, _, source = text.partition(" from ")
    protocol, _, ports = opened.partition(" ")
    if protocol == "everything":
        return Rule(ALL, -1, -1, source)
    if not ports:
        return Rule(protocol, -1, -1, source)
    first, _, last = ports.partition("-")
    return Rule(protocol, int(first), int(last or first), source)


def divide(texts: Iterable[str], group: str) -> tuple[dict[str, frozenset[Rule]], list[str]]:
    """The rules that a machine is to have, by the end of their group's name, and the groups that are not ours.

    Args:
        texts: As a machine's setup has them.
        group: The machine's main group.
    """
    found: dict[str, set[Rule]] = {group: set()}
    others: list[str] = []
    for text in texts:
        if text.startswith(OTHER):
            others.append(text.removeprefix(OTHER))
            continue
        rule = parse_rule(text)
        behind = (rule.protocol, rule.first, rule.last) == SSH and rule.source == members_of(group)
        found.setdefault(f"{group}{BEHIND}" if behind else group, set()).add(rule)
    return {name: frozenset(rules) for name, rules in found.items()}, others
