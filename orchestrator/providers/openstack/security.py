"""Security groups: who reaches the machines of a deployment, exactly as asked for and nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.providers.access_rules import ALL, EVERYBODY, OTHER, Rule, members_of, rules_of
from orchestrator.providers.base import MachineRequest
from orchestrator.providers.cloud_errors import gone_is_fine
from orchestrator.providers.cloud_parts import part_name
from orchestrator.providers.openstack.api import NEUTRON, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.marks import Mark, mark_of, part_tags, the_one

_SIX = " by IPv6"
"""End of a source that is the members of a group, of a rule for IPv6."""


def rule_texts(ports: Iterable[Mapping[str, Any]], groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All rules that hold for a machine, in order; of a group that is not ours only which one it is.

    Args:
        ports: The machine's, as neutron describes them.
        groups: Our groups as neutron describes them, by identifier.
    """
    names = {group_id: what_of(group) for group_id, group in groups.items()}
    found: set[str] = set()
    for port in ports:
        if port.get("port_security_enabled") is False:
            found.update(str(Rule(ALL, -1, -1, source)) for source in EVERYBODY)
        for attached in port.get("security_groups") or []:
            if attached in groups:
                found.update(str(rule) for rule in rules_in(groups[attached], names))
            else:
                found.add(f"{OTHER}{attached}")
    return sorted(found)


def what_of(group: Mapping[str, Any]) -> str:
    """What one of our groups is for."""
    mark = mark_of(group)
    return mark.address if mark else ""


class SecurityGroups:
    """Makes groups and sets their rules.

    Args:
        api: Where.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self) -> list[dict[str, Any]]:
        """All of the project."""
        project = self._api.project()
        doing = "listing security groups"
        return self._api.list(NEUTRON, "/security-groups", "security_groups", doing, project_id=project)

    def ensure(self, request: MachineRequest, wanted: Mapping[str, frozenset[Rule]] | None = None) -> tuple[str, ...]:
        """The groups of a machine, made if they are missing, with the wanted rules and no others; main one first.

        Args:
            request: The machine.
            wanted: Rules by group; those of the request if not given.
        """
        wanted = rules_of(request) if wanted is None else wanted
        listed = self.all()
        groups: dict[str, dict[str, Any]] = {}
        for what in wanted:
            found = the_one(listed, request, "security group", what, what)
            groups[what] = found or self._create(request, what)
            if found and not found.get("tags"):
                self._tag(request, str(found["id"]), what)
        mine = [g for g in listed if (mark := mark_of(g)) and mark.is_of(request.deployment)]
        ids = {what_of(group): str(group["id"]) for group in mine} | {w: str(g["id"]) for w, g in groups.items()}
        for what, rules in wanted.items():
            self._set(groups[what], what, rules, ids)
        return tuple(str(group["id"]) for group in groups.values())

    def _create(self, request: MachineRequest, what: str) -> dict[str, Any]:
        name = part_name(request.deployment, what)
        asked = {"name": name, "description": Mark(request.deployment, what).text}
        doing = f"making the security group {name}"
        made = self._api.call(NEUTRON, "POST", "/security-groups", doing, {"security_group": asked})["security_group"]
        self._tag(request, str(made["id"]), what)
        return dict(made)

    def _tag(self, request: MachineRequest, group_id: str, what: str) -> None:
        doing = f"tagging the security group of {what}"
        tags = {"tags": part_tags(request, what)}
        self._api.call(NEUTRON, "PUT", f"/security-groups/{group_id}/tags", doing, tags)

    def _set(self, group: Mapping[str, Any], what: str, wanted: frozenset[Rule], ids: Mapping[str, str]) -> None:
        """Open what is missing first, then close what is too much, so that nobody loses a way that stays."""
        names = {group_id: name for name, group_id in ids.items()}
        present: dict[Rule, list[str]] = {}
        for told in _incoming(group):
            present.setdefault(_rule(told, names), []).append(str(told["id"]))
        doing = f"setting who reaches the machines of the group {what}"
        missing = [_asked(rule, str(group["id"]), ids) for rule in sorted(wanted - present.keys())]
        if missing:
            self._open(missing, doing)
        for rule in sorted(present.keys() - wanted):
            for rule_id in present[rule]:
                with gone_is_fine():
                    self._api.call(NEUTRON, "DELETE", f"/security-group-rules/{rule_id}", doing)

    def _open(self, rules: list[dict[str, Any]], doing: str) -> None:
        """In one call; where one of them has come into being meanwhile, one by one."""
        try:
            self._api.call(NEUTRON, "POST", "/security-group-rules", doing, {"security_group_rules": rules})
        except ApiError as error:
            if not error.is_conflict:
                raise
        else:
            return
        for rule in rules:
            try:
                self._api.call(NEUTRON, "POST", "/security-group-rules", doing, {"security_group_rule": rule})
            except ApiError as error:
                if not error.is_conflict:
                    raise


def rules_in(group: Mapping[str, Any], names: Mapping[str, str]) -> frozenset[Rule]:
    """The rules of a group as neutron describes it; ``names`` has what each of our groups is for."""
    return frozenset(_rule(told, names) for told in _incoming(group))


def _incoming(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [rule for rule in group.get("security_group_rules") or [] if rule.get("direction") == "ingress"]


def _rule(told: Mapping[str, Any], names: Mapping[str, str]) -> Rule:
    six = told.get("ethertype") == "IPv6"
    other = told.get("remote_group_id")
    if other:
        source = members_of(names.get(str(other)) or str(other)) + (_SIX if six else "")
    elif told.get("remote_address_group_id"):
        source = f"list {told['remote_address_group_id']}{_SIX if six else ''}"
    else:
        source = str(told.get("remote_ip_prefix") or EVERYBODY[six])
    protocol = told.get("protocol")
    first, last = told.get("port_range_min"), told.get("port_range_max")
    return Rule(
        ALL if protocol in {None, "any", "0", 0} else str(protocol),
        -1 if first is None else int(first),
        -1 if last is None else int(last),
        source,
    )


def _asked(rule: Rule, group_id: str, ids: Mapping[str, str]) -> dict[str, Any]:
    """A rule as neutron takes it."""
    made: dict[str, Any] = {"security_group_id": group_id, "direction": "ingress"}
    if rule.protocol != ALL:
        made["protocol"] = rule.protocol
    if rule.first >= 0:
        made["port_range_min"] = rule.first
    if rule.last >= 0:
        made["port_range_max"] = rule.last
    six = rule.source.endswith(_SIX) or (":" in rule.source and not rule.source.startswith("members of "))
    source = rule.source.removesuffix(_SIX)
    members = source.removeprefix("members of ")
    if members != source:
        made["remote_group_id"] = ids.get(members, members)
    elif source.startswith("list "):
        made["remote_address_group_id"] = source.removeprefix("list ")
    else:
        made["remote_ip_prefix"] = source
    return made | {"ethertype": "IPv6" if six else "IPv4"}
