"""Security groups: who reaches the machines of a deployment, exactly as asked for and nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.tags import ADDRESS, LINEAGE, part_name, part_tags, specifications, tag_filter, tags_of
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
EVERYBODY = ("0.0.0.0/0", "::/0")
BEHIND = "-behind"
"""End of the name of the group of machines that are reached through another one of theirs."""

_OTHER = "group "


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One port range that is open to one source: a network, or the members of a group."""

    protocol: str
    first: int
    last: int
    source: str

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        ports = "" if self.protocol == "-1" else f" {ports}"
        return f"{'everything' if self.protocol == '-1' else self.protocol}{ports} from {self.source}"


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
    """A network as EC2 tells it: ``203.0.113.7/24`` is ``203.0.113.0/24`` there, and one address has a length too."""
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


def rule_texts(described: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All rules that hold for an instance, in order; of a group that is not ours only which one it is.

    Args:
        described: The instance as EC2 describes it.
        groups: Our groups as EC2 describes them, by identifier.
    """
    found: set[str] = set()
    for attached in described.get("SecurityGroups", []):
        group = groups.get(str(attached["GroupId"]))
        if group is None:
            found.add(f"{_OTHER}{attached['GroupId']}")
        else:
            found.update(str(rule) for rule in _rules_in(group, _names(groups)))
    return sorted(found)


def parse_rule(text: str) -> Rule:
    """A rule from its text."""
    opened, _, source = text.partition(" from ")
    protocol, _, ports = opened.partition(" ")
    if protocol == "everything":
        return Rule("-1", -1, -1, source)
    first, _, last = ports.partition("-")
    return Rule(protocol, int(first), int(last or first), source)


def divide(texts: Iterable[str], group: str) -> tuple[dict[str, frozenset[Rule]], list[str]]:
    """The rules that a machine is to have, by the end of their group's name, and the groups that are not ours.

    Args:
        texts: As ``rule_texts`` gives them.
        group: The machine's main group.
    """
    found: dict[str, set[Rule]] = {group: set()}
    others: list[str] = []
    for text in texts:
        if text.startswith(_OTHER):
            others.append(text.removeprefix(_OTHER))
            continue
        rule = parse_rule(text)
        behind = (rule.protocol, rule.first, rule.last) == SSH and rule.source == members_of(group)
        found.setdefault(f"{group}{BEHIND}" if behind else group, set()).add(rule)
    return {name: frozenset(rules) for name, rules in found.items()}, others


class SecurityGroups:
    """Makes groups and sets their rules.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def ensure(
        self, request: MachineRequest, network: str, wanted: Mapping[str, frozenset[Rule]] | None = None
    ) -> tuple[str, ...]:
        """The groups of a machine, made if they are missing, with the wanted rules and no others; main one first.

        Args:
            request: The machine.
            network: VPC that the groups are in.
            wanted: Rules by group; those of the request if not given.
        """
        wanted = rules_of(request) if wanted is None else wanted
        present = {self._what(g): g for g in self._of_deployment(request, network)}
        ids: dict[str, str] = {}
        for what in wanted:
            group = present.get(what)
            ids[what] = str(group["GroupId"]) if group else self._create(request, network, what)
        every = ids | {what: str(group["GroupId"]) for what, group in present.items()}
        for what, rules in wanted.items():
            found = _rules_in(present[what], _names_of(every)) if what in present else frozenset()
            self._set(ids[what], what, found, rules, every)
        return tuple(ids.values())

    def _of_deployment(self, request: MachineRequest, network: str) -> list[dict[str, Any]]:
        found = self._api.list(
            "describe_security_groups",
            "SecurityGroups",
            f"looking for the security groups of {request.deployment.name}",
            Filters=[tag_filter(LINEAGE, [request.deployment.lineage]), {"Name": "vpc-id", "Values": [network]}],
        )
        seen: dict[str, str] = {}
        for group in found:
            what = self._what(group)
            if what in seen:
                raise two_of_them(f"security group {what}", seen[what], str(group["GroupId"]))
            seen[what] = str(group["GroupId"])
        return found

    @staticmethod
    def _what(group: Mapping[str, Any]) -> str:
        return tags_of(group).get(ADDRESS, "")

    def _create(self, request: MachineRequest, network: str, what: str) -> str:
        name = part_name(request.deployment, what)
        try:
            made = self._api.call(
                "create_security_group",
                f"making the security group {name}",
                GroupName=name,
                Description=f"Machines of {request.deployment.name}",
                VpcId=network,
                TagSpecifications=specifications(part_tags(request, what, what), "security-group"),
            )
        except ApiError as error:
            if error.code == "InvalidGroup.Duplicate":
                raise name_taken("security group", name) from error
            raise
        return str(made["GroupId"])

    def _set(
        self, group_id: str, what: str, found: frozenset[Rule], wanted: frozenset[Rule], ids: Mapping[str, str]
    ) -> None:
        """Open what is missing first, then close what is too much, so that nobody loses a way that stays."""
        for operation, rules, idle in (
            ("authorize_security_group_ingress", wanted - found, "InvalidPermission.Duplicate"),
            ("revoke_security_group_ingress", found - wanted, "InvalidPermission.NotFound"),
        ):
            if not rules:
                continue
            permissions = [_permission(rule, ids) for rule in sorted(rules)]
            doing = f"setting who reaches the machines of the group {what}"
            try:
                self._api.call(operation, doing, GroupId=group_id, IpPermissions=permissions)
            except ApiError as error:
                if error.code != idle:
                    raise


def _names(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {group_id: tags_of(group).get(ADDRESS, "") for group_id, group in groups.items()}


def _names_of(ids: Mapping[str, str]) -> dict[str, str]:
    return {group_id: what for what, group_id in ids.items()}


def _rules_in(group: Mapping[str, Any], names: Mapping[str, str]) -> frozenset[Rule]:
    """The rules of a group as EC2 describes it."""
    found: set[Rule] = set()
    for permission in group.get("IpPermissions", []):
        protocol = str(permission.get("IpProtocol", "-1"))
        first, last = int(permission.get("FromPort", -1)), int(permission.get("ToPort", -1))
        sources = [str(entry["CidrIp"]) for entry in permission.get("IpRanges", [])]
        sources += [str(entry["CidrIpv6"]) for entry in permission.get("Ipv6Ranges", [])]
        sources += [f"list {entry['PrefixListId']}" for entry in permission.get("PrefixListIds", [])]
        for pair in permission.get("UserIdGroupPairs", []):
            other = str(pair.get("GroupId", ""))
            sources.append(members_of(names.get(other) or other))
        found.update(Rule(protocol, first, last, source) for source in sources)
    return frozenset(found)


def _permission(rule: Rule, ids: Mapping[str, str]) -> dict[str, Any]:
    """A rule as EC2 takes it."""
    made: dict[str, Any] = {"IpProtocol": rule.protocol}
    if rule.protocol != "-1":
        made |= {"FromPort": rule.first, "ToPort": rule.last}
    kind, _, name = rule.source.partition("members of ")
    if name:
        return made | {"UserIdGroupPairs": [{"GroupId": ids.get(name, name)}]}
    if kind.startswith("list "):
        return made | {"PrefixListIds": [{"PrefixListId": kind.removeprefix("list ")}]}
    if ":" in rule.source:
        return made | {"Ipv6Ranges": [{"CidrIpv6": rule.source}]}
    return made | {"IpRanges": [{"CidrIp": rule.source}]}


def name_taken(kind: str, name: str) -> ProviderError:
    """Something has our name and is not ours."""
    return ProviderError(
        "A name of ours is taken.",
        detail=f"AWS has a {kind} {name} that does not carry the tags of this deployment; it is left alone.",
        resolution="Remove or rename it if nobody needs it, or rename the deployment.",
    )


def two_of_them(kind: str, first: str, second: str, others: Sequence[str] = ()) -> ProviderError:
    """Two things carry the same tags."""
    named = ", ".join((first, second, *others))
    return ProviderError(
        "Two things claim to be the same.",
        detail=f"Each of these carries the tags of the {kind}: {named}.",
        resolution="Find out which one is right and remove the other, or destroy the deployment.",
    )
