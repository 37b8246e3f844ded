"""A cloud in memory with several places: machines by tag, a network for each deployment, quota, trouble on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from orchestrator.diagnostics import Diagnostic, error
from orchestrator.errors import ProviderError
from orchestrator.providers.base import (
    SECURITY_RULES,
    DeploymentTag,
    Machine,
    MachineRequest,
    MachineState,
    Owned,
    Resource,
)
from orchestrator.topology.model import Value

PROVIDER = "tests.unit.pretend_cloud:PretendCloud"


@dataclass
class Sky:
    """What exists at all places.

    Attributes:
        machines: By place and identifier, with the deployment; ``None`` if nobody's.
        networks: Those that were made, by place and identifier.
        stuck: Identifiers that cannot be removed, with the reason.
        trouble: Called before every question or order with the place and what is asked; may raise.
        asked: What was asked, in order.
        quota: How many machines may be at a place.
    """

    machines: dict[tuple[str, str], tuple[DeploymentTag | None, Machine]] = field(default_factory=dict)
    networks: dict[tuple[str, str], DeploymentTag] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict)
    trouble: Callable[[str, str], None] = lambda _place, _what: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    quota: int = 100

    current: ClassVar[Sky]


class PretendCloud:
    """The provider ``aws`` of tests.

    Args:
        place: Which place.
    """

    max_parallel = 8
    can_start = True

    def __init__(self, place: str = "home") -> None:
        self.place = place

    def _ask(self, what: str) -> Sky:
        sky = Sky.current
        sky.asked.append((self.place, what))
        sky.trouble(self.place, what)
        return sky

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Make it, or find it by its token and set who reaches it."""
        del progress
        sky = self._ask("create")
        sky.networks[self.place, f"net-{request.deployment.lineage}"] = request.deployment
        rules: list[Value] = [f"tcp 22 from {network}" for network in sorted(request.access.ssh_from)]
        for key, (owner, machine) in sky.machines.items():
            if key[0] == self.place and owner == request.deployment and machine.token == request.token:
                found = replace(machine, setup={**machine.setup, SECURITY_RULES: rules})
                sky.machines[key] = (owner, found)
                return found
        number = len(sky.machines) + 1
        made = Machine(
            f"i-{number}",
            request.address,
            request.token,
            MachineState.RUNNING,
            f"198.51.100.{number}" if request.access.public else f"10.0.0.{number}",
            22,
            "deploy",
            "ssh-ed25519 AAAA",
            {"flavor": request.flavor or "small", SECURITY_RULES: rules},
        )
        sky.machines[self.place, made.id] = (request.deployment, made)
        return made

    def start(self, machine_id: str) -> Machine:
        """Start it."""
        return self._change(machine_id, state=MachineState.RUNNING)

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """Set it up."""
        owner, machine = Sky.current.machines[self.place, machine_id]
        Sky.current.machines[self.place, machine_id] = owner, replace(machine, setup={**machine.setup, **setup})
        return Sky.current.machines[self.place, machine_id][1]

    def _change(self, machine_id: str, state: MachineState) -> Machine:
        owner, machine = Sky.current.machines[self.place, machine_id]
        Sky.current.machines[self.place, machine_id] = owner, replace(machine, state=state)
        return Sky.current.machines[self.place, machine_id][1]

    def delete(self, machine_id: str) -> None:
        """Remove it."""
        self._ask("delete").machines.pop((self.place, machine_id), None)

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """Machines by tag."""
        sky = self._ask("find")
        here = [entry for (place, _), entry in sky.machines.items() if place == self.place]
        return [machine for owner, machine in here if owner and owner.lineage == deployment.lineage]

    def release(self, deployment: DeploymentTag) -> None:
        """Remove the network, if no machine is in it."""
        if not self.find(deployment):
            Sky.current.networks.pop((self.place, f"net-{deployment.lineage}"), None)

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """What is tagged."""
        return [owned.resource for owned in self.owned() if owned.deployment.lineage == deployment.lineage]

    def check(self, requests: Sequence[MachineRequest]) -> Sequence[Diagnostic]:
        """Quota, and images that are there."""
        sky = self._ask("check")
        there = sum(1 for place, _ in sky.machines if place == self.place)
        missing = [r for r in requests if "gone" in r.image]
        found = [error("No such image.", f"{r.image} is not there.", address=r.address) for r in missing]
        if there + len(requests) > sky.quota:
            found.append(error("The quota is used up.", f"{self.place} has room for {sky.quota - there} machines."))
        return found

    def adopt(self, machine_id: str, request: MachineRequest) -> Machine:
        """Tag it."""
        sky = self._ask("adopt")
        owner, machine = sky.machines.get((self.place, machine_id), (None, None))
        if machine is None or owner not in (None, request.deployment):
            reason = f"it belongs to {owner.name}" if owner else "there is no such machine"
            raise ProviderError("A machine cannot be adopted.", detail=f"{machine_id}: {reason}.", resolution="Look.")
        adopted = replace(machine, address=request.address, token=request.token)
        sky.machines[self.place, machine_id] = request.deployment, adopted
        return adopted

    def owned(self) -> Sequence[Owned]:
        """Everything tagged here."""
        sky = self._ask("owned")
        found = [
            Owned(owner, Resource("machine", machine.id, machine.address, machine.address))
            for (place, _), (owner, machine) in sky.machines.items()
            if place == self.place and owner is not None
        ]
        return found + [
            Owned(owner, Resource("network", name, name))
            for (place, name), owner in sky.networks.items()
            if place == self.place
        ]

    def remove(self, owned: Sequence[Owned]) -> Mapping[str, str]:
        """Remove what is not stuck."""
        sky = self._ask("remove")
        left = {}
        for each in owned:
            name = each.resource.id
            if name in sky.stuck:
                left[name] = sky.stuck[name]
            else:
                sky.machines.pop((self.place, name), None)
                sky.networks.pop((self.place, name), None)
        return left
