"""Sets a machine as it was: what a hand changed on it since, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.errors import ProviderError
from orchestrator.providers.access_rules import divide, main_group
from orchestrator.providers.base import LABELS, SECURITY_RULES, Machine, MachineRequest
from orchestrator.providers.changed_setup import Fixed, Step, labels_in, rules_in, set_back
from orchestrator.providers.cloud_parts import ADDRESS, LINEAGE, label_changes, request_told_by
from orchestrator.providers.openstack.api import NEUTRON, NOVA, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.flavors import Flavors
from orchestrator.providers.openstack.marks import NAME
from orchestrator.providers.openstack.security import SecurityGroups, what_of
from orchestrator.providers.openstack.servers import (
    FLAVOR,
    NETWORK_NAME,
    VOLUMES,
    Surroundings,
    flavor_of,
    gone,
    is_gone,
    status_of,
    task_of,
    trouble_of,
)
from orchestrator.providers.waiting import Pause, wait_for
from orchestrator.topology.model import Value

_FIXED = Fixed(network=NETWORK_NAME, volumes=VOLUMES, why="it would have another address there")
_STARTS: Mapping[str, dict[str, Any]] = {
    "SHUTOFF": {"os-start": None},
    "PAUSED": {"unpause": None},
    "SUSPENDED": {"resume": None},
    "SHELVED": {"unshelve": None},
    "SHELVED_OFFLOADED": {"unshelve": None},
    "RESCUE": {"unrescue": None},
    "ERROR": {"reboot": {"type": "HARD"}},
    "VERIFY_RESIZE": {"confirmResize": None},
}
"""What lets a server in that state run; one that was resized runs already, and need not be kept as it was."""


class Adjusting:
    """Changes machines in place.

    Args:
        api: Where.
        groups: Security groups there.
        flavors: Sizes there.
        look: Describes a server as it is now.
        around: What neutron has of the machines of a deployment now, by its lineage.
        machine: Tells a machine as it is now.
        pause: Waits.
    """

    def __init__(
        self,
        api: Api,
        groups: SecurityGroups,
        flavors: Flavors,
        look: Callable[[str], dict[str, Any] | None],
        around: Callable[[str], Surroundings],
        machine: Callable[[str], Machine],
        pause: Pause,
    ) -> None:
        self._api = api
        self._groups = groups
        self._flavors = flavors
        self._look = look
        self._around = around
        self._machine = machine
        self._pause = pause

    def start(self, machine_id: str) -> Machine:
        """Let a machine run, from whatever state it is in; what is being done with it is waited for."""
        described = self.settled(machine_id)
        begin = _STARTS.get(status_of(described))
        if begin:
            self._act(machine_id, f"starting the machine {machine_id}", begin)
            described = self.settled(machine_id)
        if status_of(described) != "ACTIVE":
            raise ApiError(
                "The machine does not start.",
                detail=f"{machine_id}: {trouble_of(described)}",
                resolution="Mend what it names, or make the machine anew with `--replace`.",
            )
        return self._machine(machine_id)

    def adjust(self, machine_id: str, wanted: Mapping[str, Value]) -> Machine:
        """Set what differs of ``wanted``."""
        described = self._described(machine_id)
        steps: dict[str, Step] = {
            LABELS: self._set_labels,
            SECURITY_RULES: self._set_rules,
            FLAVOR: self._set_flavor,
        }
        set_back(described, self._machine(machine_id), wanted, _FIXED, steps)
        return self._machine(machine_id)

    def settled(self, machine_id: str) -> dict[str, Any]:
        """A server with which nothing is being done any longer."""

        def look() -> dict[str, Any] | None:
            described = self._described(machine_id)
            return None if task_of(described) or status_of(described) in {"BUILD", "RESIZE"} else described

        return wait_for(look, f"OpenStack to have done what it does with the machine {machine_id}", self._pause)

    def set_groups(self, machine_id: str, address: str, ports: tuple[Mapping[str, Any], ...], wanted: set[str]) -> None:
        """Let all ports of a machine have exactly these groups, and heed them."""
        for port in ports:
            if set(port.get("security_groups") or []) == wanted and port.get("port_security_enabled") is not False:
                continue
            changed: dict[str, Any] = {"security_groups": sorted(wanted)}
            if port.get("port_security_enabled") is False:
                changed["port_security_enabled"] = True
            doing = f"setting who reaches {address or machine_id}"
            self._api.call(NEUTRON, "PUT", f"/ports/{port['id']}", doing, {"port": changed})

    def set_labels(self, described: Mapping[str, Any], request: MachineRequest) -> None:
        """Let a machine have its name and the metadata that the user wants now; what is in order costs no call."""
        told = described.get("metadata") or {}
        wanted, surplus = label_changes(told, request)
        name = str(told.get(NAME) or described.get("name"))
        self._label(described, name, wanted, surplus)

    def _described(self, machine_id: str) -> dict[str, Any]:
        described = self._look(machine_id)
        if described is None or is_gone(described):
            raise gone(machine_id)
        return described

    def _act(self, machine_id: str, doing: str, action: dict[str, Any]) -> None:
        self._api.call(NOVA, "POST", f"/servers/{machine_id}/action", doing, action)

    def _set_labels(self, described: Mapping[str, Any], wanted: Value) -> None:
        kept, surplus = labels_in(wanted)
        name = kept.pop("name", "") or described.get("name")
        told = described.get("metadata") or {}
        self._label(described, str(name), kept, [key for key in surplus if key in told])

    def _label(self, described: Mapping[str, Any], name: str, kept: Mapping[str, str], surplus: Sequence[str]) -> None:
        path, doing = f"/servers/{described['id']}", "setting the name and metadata of a machine"
        if name != described.get("name"):
            self._api.call(NOVA, "PUT", path, doing, {"server": {"name": name}})
        if kept:
            self._api.call(NOVA, "POST", f"{path}/metadata", doing, {"metadata": dict(kept)})
        for key in surplus:
            self._api.call(NOVA, "DELETE", f"{path}/metadata/{quote(key, safe='')}", doing)

    def _set_rules(self, described: Mapping[str, Any], wanted: Value) -> None:
        told = {str(k): str(v) for k, v in (described.get("metadata") or {}).items()}
        around = self._around(told.get(LINEAGE, ""))
        ports = tuple(around.ports.get(str(described["id"]), ()))
        attached = {str(group) for port in ports for group in port.get("security_groups") or []}
        ours = [what_of(group) for group_id, group in around.groups.items() if group_id in attached]
        group = main_group(ours, told.get(ADDRESS, ""))
        rules, others = divide(rules_in(wanted), group)
        ids = self._groups.ensure(request_told_by(told, group), rules)
        self.set_groups(str(described["id"]), told.get(ADDRESS, ""), ports, {*ids, *others})

    def _set_flavor(self, described: Mapping[str, Any], wanted: Value) -> None:
        """By a resize that is confirmed at once; one that a hand began is confirmed before."""
        machine_id, name = str(described["id"]), str(wanted)
        flavor = self._flavors.named(name)
        if flavor is None:
            raise ProviderError(
                "There is no such flavor.",
                detail=f"{machine_id} is to be a {name} again, which {self._api.place} does not offer any longer.",
                resolution="Accept what it is now with `--refresh-only`, or make it anew with `--replace`.",
            )
        doing = f"making the machine {machine_id} a {name}"
        if status_of(self.settled(machine_id)) == "VERIFY_RESIZE":
            self._confirm(machine_id, doing)
        if flavor_of(self._described(machine_id)) == name:
            return
        self._act(machine_id, doing, {"resize": {"flavorRef": flavor.id}})
        after = self.settled(machine_id)
        if status_of(after) == "VERIFY_RESIZE":
            self._confirm(machine_id, doing)
            after = self._described(machine_id)
        if flavor_of(after) != name:
            raise ApiError(
                "The machine could not be given another flavor.",
                detail=f"{machine_id} is to be a {name} and is a {flavor_of(after)} still. {trouble_of(after)}",
                resolution="Name one that has room for it, accept what it is with `--refresh-only`, or make the "
                "machine anew with `--replace`.",
            )

    def _confirm(self, machine_id: str, doing: str) -> None:
        self._act(machine_id, doing, {"confirmResize": None})

        def look() -> bool | None:
            described = self._described(machine_id)
            return None if status_of(described) == "VERIFY_RESIZE" or task_of(described) else True

        wait_for(look, f"the size of {machine_id} to be confirmed", self._pause)
