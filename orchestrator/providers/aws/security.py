"""Security groups: who reaches the machines of a deployment, exactly as asked for and nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.providers.access_rules import ALL, OTHER, Rule, members_of, rules_of
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.tags import part_tags, specifications, tag_filter, tags_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_parts import ADDRESS, LINEAGE, part_name
from orchestrator.providers.ownership import name_taken, two_of_them


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
            found.add(f"{OTHER}{attached['GroupId']}")
        else:
            found.update(str(rule) for rule in _rules_in(group, _names(groups)))
    return sorted(found)


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
                raise two_of_them(f"security group {what}", [seen[what], str(group["GroupId"])])
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
                raise name_taken("AWS", "security group", name) from error
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
        protocol = str(permission.get("IpProtocol", ALL))
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
    if rule.protocol != ALL:
        made |= {"FromPort": rule.first, "ToPort": rule.last}
    kind, _, name = rule.source.partition("members of ")
    if name:
        return made | {"UserIdGroupPairs": [{"GroupId": ids.get(name, name)}]}
    if kind.startswith("list "):
        return made | {"PrefixListIds": [{"PrefixListId": kind.removeprefix("list ")}]}
    if ":" in rule.source:
        return made | {"Ipv6Ranges": [{"CidrIpv6": rule.source}]}
    return made | {"IpRanges": [{"CidrIp": rule.source}]}
