"""Sets a machine as it was: what a hand changed on it since, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import ProviderError
from orchestrator.providers.access_rules import divide, main_group
from orchestrator.providers.aws.api import Api
from orchestrator.providers.aws.failures import ApiError
from orchestrator.providers.aws.instances import FLAVOR, GONE, METADATA, SESSIONS_ONLY, SUBNET, VOLUMES, gone, state_of
from orchestrator.providers.aws.security import SecurityGroups
from orchestrator.providers.aws.tags import tag_list, tags_of
from orchestrator.providers.base import LABELS, SECURITY_RULES, Machine
from orchestrator.providers.changed_setup import Fixed, Step, labels_in, rules_in, set_back
from orchestrator.providers.cloud_parts import ADDRESS, LINEAGE, request_told_by
from orchestrator.providers.waiting import Pause, wait_for
from orchestrator.topology.model import Value

_FIXED = Fixed(network=SUBNET, volumes=VOLUMES, why="AWS moves none")


class Adjusting:
    """Changes machines in place.

    Args:
        api: Where.
        groups: Security groups there.
        look: Describes an instance as it is now.
        machine: Tells a machine as it is now.
        pause: Waits.
    """

    def __init__(
        self,
        api: Api,
        groups: SecurityGroups,
        look: Callable[[str], dict[str, Any] | None],
        machine: Callable[[str], Machine],
        pause: Pause,
    ) -> None:
        self._api = api
        self._groups = groups
        self._look = look
        self._machine = machine
        self._pause = pause

    def start(self, machine_id: str) -> Machine:
        """Start a machine that is stopped; one that is being stopped is waited for."""
        state = state_of(self._described(machine_id))
        if state == "stopping":
            self._wait(machine_id, "stopped")
            state = "stopped"
        if state == "stopped":
            self._api.call("start_instances", f"starting the machine {machine_id}", InstanceIds=[machine_id])
        self._wait(machine_id, "running")
        return self._machine(machine_id)

    def adjust(self, machine_id: str, wanted: Mapping[str, Value]) -> Machine:
        """Set what differs of ``wanted``; for another flavor it is stopped, and started again if it ran."""
        described = self._described(machine_id)
        steps: dict[str, Step] = {
            LABELS: self._set_labels,
            METADATA: self._set_metadata,
            SECURITY_RULES: self._set_rules,
            FLAVOR: self._set_flavor,
        }
        set_back(described, self._machine(machine_id), wanted, _FIXED, steps)
        return self._machine(machine_id)

    def _described(self, machine_id: str) -> dict[str, Any]:
        described = self._look(machine_id)
        if described is None or state_of(described) in GONE:
            raise gone(machine_id)
        return described

    def _wait(self, machine_id: str, state: str) -> None:
        def look() -> bool | None:
            return True if state_of(self._described(machine_id)) == state else None

        wait_for(look, f"the machine {machine_id} to be {state}", self._pause)

    def _set_labels(self, described: Mapping[str, Any], wanted: Value) -> None:
        machine_id, doing = str(described["InstanceId"]), "setting the tags of a machine"
        kept, surplus = labels_in(wanted)
        self._api.call("create_tags", doing, Resources=[machine_id], Tags=tag_list(kept))
        if surplus:
            self._api.call("delete_tags", doing, Resources=[machine_id], Tags=[{"Key": name} for name in surplus])

    def _set_metadata(self, described: Mapping[str, Any], _: Value) -> None:
        """There is one way only in which metadata may be told."""
        doing = "setting how a machine is told its metadata"
        self._api.call("modify_instance_metadata_options", doing, InstanceId=described["InstanceId"], **SESSIONS_ONLY)

    def _set_rules(self, described: Mapping[str, Any], wanted: Value) -> None:
        tags = tags_of(described)
        attached = [str(g["GroupId"]) for g in described.get("SecurityGroups", [])]
        group = self._group_of(attached, tags)
        rules, others = divide(rules_in(wanted), group)
        ids = self._groups.ensure(request_told_by(tags, group), str(described["VpcId"]), rules)
        if set(attached) != {*ids, *others}:
            doing = f"setting who reaches {tags.get(ADDRESS)}"
            machine_id = described["InstanceId"]
            self._api.call("modify_instance_attribute", doing, InstanceId=machine_id, Groups=[*ids, *others])

    def _group_of(self, attached: list[str], tags: Mapping[str, str]) -> str:
        """What the machine's main group is for; its node template where the group was taken from it."""
        filters = [{"Name": "group-id", "Values": attached}]
        doing = "looking at the groups of a machine"
        found = self._api.list("describe_security_groups", "SecurityGroups", doing, Filters=filters) if attached else []
        ours = [tags_of(g).get(ADDRESS, "") for g in found if tags_of(g).get(LINEAGE) == tags.get(LINEAGE)]
        return main_group(ours, tags.get(ADDRESS, ""))

    def _set_flavor(self, described: Mapping[str, Any], wanted: Value) -> None:
        machine_id, flavor = str(described["InstanceId"]), str(wanted)
        if described.get("InstanceLifecycle") == "spot":
            raise ProviderError(
                "The flavor of a spot machine cannot be changed.",
                detail=f"{machine_id} is a {described.get('InstanceType')} and is to be a {flavor}; AWS does not stop "
                "spot machines of this kind.",
                resolution="Make it anew with `--replace`, or accept it with `--refresh-only`.",
            )
        ran = state_of(described) in {"pending", "running"}
        doing = f"making the machine {machine_id} a {flavor}"
        if ran:
            self._api.call("stop_instances", doing, InstanceIds=[machine_id])
        self._wait(machine_id, "stopped")
        try:
            self._api.call("modify_instance_attribute", doing, InstanceId=machine_id, InstanceType={"Value": flavor})
        except ApiError:
            # It ran before; what went wrong is told once it does so again.
            if ran:
                self._api.call("start_instances", doing, InstanceIds=[machine_id])
            raise
        if ran:
            self.start(machine_id)
