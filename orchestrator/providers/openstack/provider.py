"""Machines on a cloud that runs OpenStack."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from time import sleep
from typing import Any
from urllib.parse import quote

from orchestrator.diagnostics import Diagnostic
from orchestrator.errors import ProviderError
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest, Owned, Resource
from orchestrator.providers.cloud_parts import ADDRESS, HOST_KEY, LINEAGE, NETWORK, SUBNET, TOKEN, setting
from orchestrator.providers.known_parts import KnownDeployments, KnownParts
from orchestrator.providers.openstack.addresses import FloatingAddresses
from orchestrator.providers.openstack.adjusting import Adjusting
from orchestrator.providers.openstack.api import NOVA, Api
from orchestrator.providers.openstack.failures import ApiError
from orchestrator.providers.openstack.flavors import Flavors
from orchestrator.providers.openstack.images import Images
from orchestrator.providers.openstack.marks import machine_metadata, mark_of, mark_of_server, part_tags
from orchestrator.providers.openstack.network import SharedParts
from orchestrator.providers.openstack.preflight import Preflight
from orchestrator.providers.openstack.removal import Inventory
from orchestrator.providers.openstack.security import SecurityGroups
from orchestrator.providers.openstack.servers import (
    Claims,
    Owner,
    Servers,
    Surroundings,
    failed,
    gone,
    is_gone,
    launch_body,
    machine_of,
    never_ran,
    owner_of,
    status_of,
    unfit,
)
from orchestrator.providers.openstack.volumes import Volumes, has_own_volumes, left_behind
from orchestrator.providers.ownership import check_adoptable, made_before, name_taken, not_ours
from orchestrator.providers.removal import not_all_removed
from orchestrator.providers.together import Together
from orchestrator.providers.waiting import STATE_PAUSES, Pause, wait_for
from orchestrator.topology.model import Value

_MISSING_PARTS = re.compile(r"network|security.?group|key_?name|port", re.IGNORECASE)
_BUILD_PAUSES = (0.5, 0.5, 0.5, *STATE_PAUSES)


class OpenStackProvider:
    """Makes machines as servers of nova; a machine is known by its metadata.

    Args:
        place: Host of the cloud's identity service; empty for the cloud that the settings name.
        pause: Waits that many seconds.
    """

    max_parallel = 10
    can_start = True
    has_volumes = True

    def __init__(self, place: str = "", pause: Pause = sleep) -> None:
        self._api = Api(place)
        self._pause = pause
        self._images = Images(self._api)
        self._flavors = Flavors(self._api)
        self._parts = SharedParts(self._api)
        self._groups = SecurityGroups(self._api)
        self._addresses = FloatingAddresses(self._api)
        self._servers = Servers(self._api)
        self._volumes = Volumes(self._api, pause)
        self._inventory = Inventory(self._api, self._servers, self._volumes, pause)
        self._known: KnownDeployments[KnownParts[str]] = KnownDeployments(KnownParts)
        self._claims: Together[Owner, Claims] = Together(self._servers.claims)
        self._by_id: Together[str, dict[str, Any]] = Together(self._servers.by_id)
        self._around: Together[str, Surroundings] = Together(self._servers.around)

    def open(self) -> None:
        """See the protocol; there is nothing to start."""

    def close(self) -> None:
        """See the protocol; there is nothing to stop."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """See the protocol. One that was asked for and whose answer was lost is found by its metadata."""
        existing = self._existing(request)
        if existing is not None and never_ran(existing):
            progress("removing the one that OpenStack could not make")
            self._discard(existing, request, progress)
            existing = None
        server_id = self._launch(request, progress) if existing is None else str(existing["id"])
        described = existing
        if described is None or status_of(described) == "BUILD":
            described = self._wait_until_active(server_id, request)
        if has_own_volumes(described, request):
            self._volumes.mark(described)
        around = self._surroundings(request.deployment.lineage)
        if existing is not None:
            self._set_groups(request, server_id, around)
            self._adjusting.set_labels(existing, request)
        if not self._set_address(request, server_id, around) and existing is None:
            return machine_of(described, around)
        return self._machine(server_id)

    def start(self, machine_id: str) -> Machine:
        """See the protocol; one in error is started hard."""
        return self._adjusting.start(machine_id)

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """See the protocol; for another flavor the machine is restarted."""
        return self._adjusting.adjust(machine_id, setup)

    def delete(self, machine_id: str) -> None:
        """See the protocol; its floating address is given back."""
        described = self._by_id.ask(machine_id)
        if described is None:
            self._addresses.release_of(machine_id)
            return
        mark = mark_of_server(described)
        if mark is None:
            raise not_ours("server", machine_id)
        left = {} if is_gone(described) else self._end(described, with_volumes=never_ran(described))
        self._addresses.release(mark.deployment.lineage, mark.address)
        if left:
            raise left_behind(mark.address, machine_id, left)

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """See the protocol: a list of servers, and of ports, addresses and groups."""
        found = [s for s in self._servers.all(f"looking for machines of {deployment.name}") if _is_of(s, deployment)]
        if not found:
            return []
        around = self._surroundings(deployment.lineage)
        return sorted((machine_of(s, around) for s in found), key=lambda m: (m.address, m.id))

    def release(self, deployment: DeploymentTag) -> None:
        """See the protocol: addresses, groups, router, network and key, once no machine is left."""
        listed = self._api.list(NOVA, "/servers/detail", "servers", f"looking for machines of {deployment.name}")
        found = [s for s in listed if (mark := mark_of_server(s)) is not None and mark.is_of(deployment)]
        if any(not is_gone(server) for server in found):
            return
        ending = [str(server["id"]) for server in found]
        if ending:
            self._inventory.wait_until_gone(ending)
        self._known.forget([deployment.lineage])
        owned = self._inventory.listed(lambda mark: mark.is_of(deployment))
        reasons = self._inventory.remove([one.resource for one in owned])
        if reasons:
            named = {one.resource.id: f"the {one.resource.kind} {one.resource.name}" for one in owned}
            raise not_all_removed("OpenStack", {f"{named[i]} ({i})": reason for i, reason in reasons.items()})

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """See the protocol: machines, volumes, addresses, groups, keys and parts of networks."""
        return [owned.resource for owned in self._inventory.listed(lambda mark: mark.is_of(deployment))]

    def check(self, requests: Sequence[MachineRequest]) -> Sequence[Diagnostic]:
        """See the protocol."""
        return Preflight(self._api, self._images, self._flavors, self._parts, self._volumes).check(requests)

    def adopt(self, machine_id: str, request: MachineRequest) -> Machine:
        """See the protocol. Only the server is marked: its volumes and addresses stay the user's."""
        described = self._described(machine_id)
        self._check_adoptable(described, request)
        path, doing = f"/servers/{quote(machine_id, safe='')}", f"tagging the machine {machine_id}"
        # Its host key is nobody's whom we know: it is learned at the first contact.
        told = {"metadata": machine_metadata(request, str(described.get("name")))}
        self._api.call(NOVA, "POST", f"{path}/metadata", doing, told)
        before = described.get("metadata") or {}
        if HOST_KEY in before and before.get(TOKEN) != request.token:
            self._api.call(NOVA, "DELETE", f"{path}/metadata/{quote(HOST_KEY, safe='')}", doing)
        for tag in part_tags(request, request.address):
            self._api.call(NOVA, "PUT", f"{path}/tags/{quote(tag, safe='')}", doing)
        return self._machine(machine_id)

    def owned(self) -> Sequence[Owned]:
        """See the protocol."""
        return self._inventory.listed(lambda _: True)

    def remove(self, owned: Sequence[Owned]) -> Mapping[str, str]:
        """See the protocol."""
        self._known.forget({one.deployment.lineage for one in owned})
        return self._inventory.remove([one.resource for one in owned])

    def _existing(self, request: MachineRequest) -> dict[str, Any] | None:
        """The server with the request's token; one of another generation stands in the way."""
        claims = self._claims.ask(owner_of(request)) or Claims()
        found = {str(server["id"]): server for server in claims.mine}
        tokens = {server_id: str((server.get("metadata") or {}).get(TOKEN, "")) for server_id, server in found.items()}
        mine = found.get(made_before(tokens, request))
        if mine is None and claims.namesakes:
            raise name_taken("OpenStack", "server", f"{owner_of(request)[2]} ({claims.namesakes[0]['id']})")
        return mine

    def _launch(self, request: MachineRequest, progress: Callable[[str], None]) -> str:
        """Ask for a server with all that it shares; that is looked for anew if it was removed behind our back."""
        image = self._images.of(request)
        flavor = self._flavors.choose(request, image)
        self._volumes.check(request)

        def order(parts: tuple[str, tuple[str, ...], str]) -> str:
            network, groups, key_name = parts
            progress(f"asking OpenStack for a {flavor.name}")
            body = launch_body(request, image, flavor, network, groups, key_name)
            made = self._api.call(NOVA, "POST", "/servers", f"making the machine {request.address}", body)
            return str(made["server"]["id"])

        known = self._known.of(request.deployment.lineage)
        return known.use(lambda: self._shared(request), order, _is_part_missing)

    def _shared(self, request: MachineRequest) -> tuple[str, tuple[str, ...], str]:
        """Network, security groups and key of a machine: found or made by the first who needs them, for all."""

        def find() -> str:
            return self._parts.given_network(request) or self._parts.own_network(request)

        known = self._known.of(request.deployment.lineage)
        with known.lock:
            network = known.network_for((setting(request, SUBNET), setting(request, NETWORK)), find)
            key_name = known.key_for(request, lambda: self._parts.key_pair(request))
            return network, known.groups_for(request, lambda: self._groups.ensure(request)), key_name

    def _set_groups(self, request: MachineRequest, server_id: str, around: Surroundings) -> None:
        """Let a machine that is there have exactly the groups, and they the rules, that are asked for now."""
        known = self._known.of(request.deployment.lineage)
        with known.lock:
            wanted = known.groups_for(request, lambda: self._groups.ensure(request))
        ports = tuple(around.ports.get(server_id, ()))
        self._adjusting.set_groups(server_id, request.address, ports, set(wanted))

    def _set_address(self, request: MachineRequest, server_id: str, around: Surroundings) -> bool:
        """Let a machine be reached from outside, or not any longer, as is asked for; whether that changed anything."""
        present = around.floating_of(server_id)
        is_complete = present is None or mark_of(present) is None or bool(present.get("tags"))
        if request.access.public == (present is not None) and is_complete:
            return False
        if not request.access.public:
            self._addresses.release(request.deployment.lineage, request.address)
            return True
        ports = around.ports.get(server_id, ())
        if not ports:
            raise ApiError(
                "The machine is in no network.",
                detail=f"{request.address} ({server_id}) is to be reached from outside, and somebody took it off its "
                "network.",
                resolution="Make it anew with `--replace`.",
            )
        outside = self._parts.outside_of(request, str(ports[0]["network_id"]))
        if outside:
            self._addresses.give(request, server_id, str(ports[0]["id"]), outside)
        return bool(outside)

    def _end(self, server: Mapping[str, Any], *, with_volumes: bool) -> dict[str, str]:
        """Have a server removed with what it made; why each volume is left that could not be, by identifier.

        Args:
            server: As nova describes it.
            with_volumes: Whether it may have some that nova's description does not name.
        """
        server_id = str(server["id"])
        made = self._volumes.mark(server) if with_volumes or has_own_volumes(server) else []
        self._inventory.end(server_id)
        if not made:
            return {}
        self._inventory.wait_until_gone([server_id])
        return self._volumes.remove_left(made)

    def _discard(self, server: Mapping[str, Any], request: MachineRequest, progress: Callable[[str], None]) -> None:
        """Remove a server that never ran, so that another one can be made."""
        left = self._end(server, with_volumes=has_own_volumes(server, request))
        self._inventory.wait_until_gone([str(server["id"])])
        for name, reason in left.items():
            progress(f"leaving its volume {name}: {reason}")

    def _wait_until_active(self, server_id: str, request: MachineRequest) -> dict[str, Any]:
        """The server once it runs; one that OpenStack gave up is removed, since it would use the quota up."""

        def look() -> dict[str, Any] | None:
            described = self._by_id.ask(server_id)
            if described is None or is_gone(described):
                raise failed(described, request.address)
            return None if status_of(described) == "BUILD" else described

        what = f"the machine {request.address} ({server_id}) to run"
        described = wait_for(look, what, self._pause, _BUILD_PAUSES)
        if not never_ran(described):
            return described
        problem = failed(described, request.address)
        try:
            left = self._end(described, with_volumes=has_own_volumes(described, request))
        except ProviderError as error:
            problem.detail += f" It may be there still ({server_id}): {error.detail}"
        else:
            problem.detail += "".join(f" Its volume {name} is there still: {why}" for name, why in left.items())
        raise problem

    def _described(self, machine_id: str) -> dict[str, Any]:
        described = self._by_id.ask(machine_id)
        if described is None or is_gone(described):
            raise gone(machine_id)
        return described

    def _machine(self, machine_id: str) -> Machine:
        """The machine as it is now."""
        described = self._described(machine_id)
        lineage = str((described.get("metadata") or {}).get(LINEAGE, ""))
        return machine_of(described, self._surroundings(lineage))

    def _surroundings(self, lineage: str) -> Surroundings:
        return self._around.ask(lineage) or Surroundings()

    def _check_adoptable(self, described: Mapping[str, Any], request: MachineRequest) -> None:
        image = self._images.find(str((described.get("image") or {}).get("id", ""))) if described.get("image") else None
        others = [str(server["id"]) for server in (self._claims.ask(owner_of(request)) or Claims()).mine]
        machine_id, told = str(described["id"]), described.get("metadata") or {}
        check_adoptable(machine_id, told, request, unfit=unfit(request, image), others=others)

    @property
    def _adjusting(self) -> Adjusting:
        return Adjusting(
            self._api,
            self._groups,
            self._flavors,
            self._by_id.ask,
            self._surroundings,
            self._machine,
            self._pause,
        )


def _is_of(described: Mapping[str, Any], deployment: DeploymentTag) -> bool:
    told = described.get("metadata") or {}
    mark = mark_of_server(described)
    return mark is not None and mark.is_of(deployment) and ADDRESS in told and TOKEN in told


def _is_part_missing(error: ProviderError) -> bool:
    is_refused = isinstance(error, ApiError) and error.status in {400, 404}
    return is_refused and bool(_MISSING_PARTS.search(error.detail))
