"""A pretend continuum: providers, plays, images and services in memory, so that the whole command line runs in a test.

It stands where the container engine, Ansible and OSCAR stand; all else is the program itself. What was made is known by
its token and address, as a provider knows it by its tags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from orchestrator.engine.operations import REMOVING, creation_token
from orchestrator.errors import ProviderError
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.play_inputs import find_machines
from orchestrator.planning.observation import Observation, Presence
from orchestrator.providers.base import DeploymentTag, Machine, MachineRequest, MachineState, Resource
from orchestrator.state.former import present_address
from orchestrator.topology.model import Value

MODULE = "tests.unit.recovery.pretend"
ARTIFACTS = ("Machine", "AnsiblePlaybook", "ImageBuild", "OscarService")


class KilledError(BaseException):
    """Stands for SIGKILL: from here on this process does nothing that anybody could see."""


@dataclass
class Thing:
    """What exists outside; ``on`` names the machines that it goes with."""

    address: str
    kind: str
    lineage: str
    on: frozenset[str] = frozenset()


@dataclass
class World:
    """What exists outside of the program, and when the program is killed.

    Attributes:
        things: By what the outside tells them apart.
        log: Every boundary that was passed, e.g. ``edge[0] create begins``.
        kill_at: Number of the boundary at which the program is killed; -1 for never.
        dead: Whether it was.
        trouble: Called before every operation; may raise.
        away: Providers do not answer.
        leftovers: More that carries a tag.
    """

    things: dict[str, Thing] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    kill_at: int = -1
    dead: bool = False
    trouble: Callable[[OperationRequest], None] = lambda _request: None
    away: bool = False
    leftovers: list[Resource] = field(default_factory=list)
    guard: threading.RLock = field(default_factory=threading.RLock)

    current: ClassVar[World]

    def pass_boundary(self, name: str) -> None:
        """One more moment at which the program may die."""
        with self.guard:
            if self.dead:
                raise KilledError
            if len(self.log) == self.kill_at:
                self.dead = True
                raise KilledError(name)
            self.log.append(name)

    def revive(self, kill_at: int = -1) -> None:
        """Another process begins."""
        self.log.clear()
        self.dead, self.kill_at = False, kill_at

    def remove(self, token: str) -> None:
        """Remove it, and what was only on it."""
        with self.guard:
            self.things.pop(token, None)
            for other, thing in list(self.things.items()):
                if thing.on and not thing.on & self.things.keys():
                    del self.things[other]

    def addresses(self, kind: str = "") -> list[str]:
        """What exists, one entry a thing, so that something made twice is there twice."""
        return sorted(t.address for t in self.things.values() if kind in ("", t.kind))


class PretendExecutor:
    """Runs every operation: something that is made is a thing of the world."""

    def run(self, request: OperationRequest) -> OperationResult:
        """Make, change or remove; dies before or after, as the world says."""
        world = World.current
        name = f"{request.record.address} {request.operation}"
        world.pass_boundary(f"{name} begins")
        world.trouble(request)
        pending = request.record.pending
        assert pending is not None, "the record is durable before the first outside call"
        with world.guard:
            if request.operation == "delete":
                world.remove(_identity(request))
            elif request.operation != "stop":
                kind = request.implementation.artifact_type.rpartition(".")[2]
                on = frozenset() if kind in ("Machine", "ImageBuild") else frozenset(_machines(request))
                assert on <= world.things.keys(), f"{request.record.address} is made on machines that are not there"
                address = present_address(request.record.address)
                world.things[_identity(request)] = Thing(address, kind, request.tag.lineage, on)
        world.pass_boundary(f"{name} done")
        # Nothing is found out of what goes: others that it used may never have been finished.
        return OperationResult({} if request.operation in REMOVING else attributes_of(request))

    def observe(self, request: OperationRequest) -> Observation:
        """Whether it is there, or that nobody can say."""
        world = World.current
        if world.away:
            return Observation(Presence.UNKNOWN, "no answer")
        with world.guard:
            there = _identity(request) in world.things
        return Observation(Presence.PRESENT if there else Presence.MISSING)


class PretendProvider:
    """The API of the machines, asked past the executors."""

    max_parallel = 0

    def open(self) -> None:
        """Nothing to open."""
        if World.current.away:
            raise ProviderError("The provider does not answer.", detail="It is away.", resolution="Wait.")

    def close(self) -> None:
        """Nothing to close."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Only executors make machines here."""
        raise NotImplementedError

    def start(self, machine_id: str) -> Machine:
        """The same."""
        raise NotImplementedError

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """The same."""
        raise NotImplementedError

    def delete(self, machine_id: str) -> None:
        """Remove it."""
        self.open()
        World.current.remove(machine_id)

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """Machines by tag."""
        self.open()
        return [
            Machine(token, t.address, token, MachineState.RUNNING, "192.0.2.1", 22, "root", "ssh-ed25519 AAAA")
            for token, t in World.current.things.items()
            if t.kind == "Machine" and deployment.lineage in ("", t.lineage)
        ]

    def release(self, deployment: DeploymentTag) -> None:
        """Nothing is shared."""
        del deployment
        self.open()

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """Machines and whatever else the world says."""
        return [
            *(Resource("machine", m.id, m.id[:8], m.address) for m in self.find(deployment)),
            *World.current.leftovers,
        ]


def _identity(request: OperationRequest) -> str:
    """By what the outside tells one thing from another: a machine by its token, all else by its name where it is."""
    record = request.record
    address = present_address(record.address)
    if record.provider:
        return creation_token(request.tag.lineage, address, record.generation)
    return f"{address} on {record.inputs.get('requirements.host', [])}"


def _machines(request: OperationRequest) -> list[str]:
    return [str(machine.attributes["machine_id"]) for machine in find_machines(request)]


def attributes_of(request: OperationRequest) -> Mapping[str, Any]:
    """What the real executors find out, as far as others rely on it."""
    kind = request.implementation.artifact_type.rpartition(".")[2]
    node = request.instance.node
    if kind == "Machine":
        token = request.record.pending.token if request.record.pending else ""
        login = {"host": "192.0.2.1", "port": 22, "user": "root", "host_key": "ssh-ed25519 AAAA"}
        return {"machine_id": token, **login, "memory_mb": 1024}
    if kind == "ImageBuild":
        digest = str(request.instance.properties.get("source_digest") or "sha256:pulled")
        return {"reference": f"continuum-deploy/{node}:{digest[7:19]}", "digest": digest, "archive": f"{node}.tar"}
    if kind == "OscarService":
        image = next(iter(request.requirement_targets("image")), None)
        return {"inputs": [], "outputs": [], "image_digest": image.attributes["digest"] if image else ""}
    return {"endpoint": f"https://192.0.2.1/{node}"}
