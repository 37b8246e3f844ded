"""What an infrastructure API must do to carry machines; the contract tests in ``tests/contract`` run over every one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from orchestrator.diagnostics import Diagnostic
from orchestrator.topology.model import Value


@dataclass(frozen=True, slots=True)
class DeploymentTag:
    """Marks everything made for one deployment: ``name`` for people, ``lineage`` for certainty.

    Only ``leftovers`` is ever asked without a lineage (it is empty then); it lists by name, and nobody removes by that.
    """

    name: str
    lineage: str


class MachineState(StrEnum):
    """Whether a machine can be used."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNREACHABLE = "unreachable"
    """There as far as anybody knows, but it does not answer or does not let us in; ``reason`` says why."""

    PAUSED = "paused"
    """There with all that was running in it, and standing still."""


SECURITY_RULES = "security_rules"
"""Name in ``Machine.setup`` of the rules about who reaches a machine of a cloud.

A list of texts in order, one a rule, e.g. ``tcp 22 from 203.0.113.7/32``: one that a hand added or took away is told
by it. Other than the rest of a setup they are not set back to what was recorded: ``create`` sets them as they are asked
for now.
"""


LABELS = "tags"
"""Name in ``Machine.setup`` of a cloud's tags that the user gave, and of the name that people see.

By name, with ``None`` for one that is not there any longer. Like the rules, they are set as they are asked for now.
"""


PRIVATE_ADDRESS = "private_address"
"""Name in ``Machine.details`` of the address by which machines of a cloud reach each other.

Where it is told, nobody outside reaches more of the machine than SSH and what ``Access.public_ports`` names.
"""


@dataclass(frozen=True, slots=True)
class Access:
    """Who reaches a machine that a cloud makes. Nobody else does: there is no rule that is not asked for here.

    All of a group are asked for with the same networks and ports; only the way to them differs.

    Attributes:
        group: Machines that reach each other by every port that a cluster needs: address of their node template.
        ssh_from: Networks (``203.0.113.7/32``) from which SSH is open; empty for none.
        public: Whether it gets an address that is reached from outside. One without is reached through ``jump``.
        public_ports: TCP ports that are open to everybody, because something on it is exposed.
        jump: Address of the machine (``edge[0]``) whose SSH is the way to this one, and from which SSH is open; empty
            if there is none.
    """

    group: str = ""
    ssh_from: tuple[str, ...] = ()
    public: bool = True
    public_ports: tuple[int, ...] = ()
    jump: str = ""


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """A machine to be made.

    Attributes:
        deployment: Whom it is for.
        address: Node instance, e.g. ``edge-raspi[0]``.
        token: Derived from lineage, address and generation; the same request after a crash has the same token.
        hostname: Name inside the deployment, unique, a DNS label.
        architecture: ``amd64`` or ``arm64``.
        cpus: Cores.
        memory_mb: Memory in MiB.
        settings: What the profile adds for this provider, e.g. ``{"firmware": "raspberry-pi"}``.
        authorized_key: OpenSSH public key that may log in.
        place: Identifier of the place where the machine is, for a provider that makes none (see ``Settled``).
        image: Operating system as ``scheme://place/identifier``; empty where the provider has its own.
        flavor: The cloud's name for the size; empty for the cheapest that has what is asked for.
        disk_gb: Least size of its disk; 0 for what image and flavor bring.
        volumes_gb: Sizes of empty volumes that it has besides that disk; they are made and removed with it.
        gpus: Least number of graphics processors.
        gpu_memory_mb: Least memory of one of them; 0 if it does not matter.
        gpu_model: Their model, as people write it (``NVIDIA T4``); empty if it does not matter.
        sgx: Whether the processor must offer SGX enclaves.
        secure_boot: Whether it must boot signed software only.
        measured_boot: Whether it must measure what it boots.
        spot: Whether the cloud may take it back at any time, for a lower price.
        access: Who reaches it.
        host_key: Private host key in OpenSSH's form that it has to show at the first contact; put there by the provider
            (cloud-init). Whoever asked replaces it over the first connection. Empty where the provider has its own way.
    """

    deployment: DeploymentTag
    address: str
    token: str
    hostname: str
    architecture: str
    cpus: int
    memory_mb: int
    authorized_key: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    place: str = ""
    image: str = ""
    flavor: str = ""
    disk_gb: int = 0
    volumes_gb: tuple[int, ...] = ()
    gpus: int = 0
    gpu_memory_mb: int = 0
    gpu_model: str = ""
    sgx: bool = False
    secure_boot: bool = False
    measured_boot: bool = False
    spot: bool = False
    access: Access = field(default_factory=Access)
    host_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that exists.

    Attributes:
        id: The provider's own identifier.
        address: Node instance it was made for, from its tags.
        token: Token it was made with, from its tags.
        state: Whether it runs.
        host: Address that SSH connects to.
        port: Port of SSH.
        user: Login name.
        host_key: Public host key, ``ssh-ed25519 AAAA…``, known before the first connection.
        setup: What the provider set on it and a hand can change afterwards past the program (size, network, …), by
            name, as it is now: always the same names, with ``None`` for what is not set. What is found here otherwise
            than it was recorded is drift, which ``adjust`` mends.
        details: What else has to be known to reach it later; no secret values.
        reason: Why it cannot be worked on, in full sentences, if it is unreachable; else empty.
    """

    id: str
    address: str
    token: str
    state: MachineState
    host: str
    port: int
    user: str
    host_key: str
    setup: Mapping[str, Value] = field(default_factory=dict)
    details: Mapping[str, Value] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """Anything tagged as ours at the provider: a machine, a network, a volume, an image made for one deployment.

    Attributes:
        kind: What it is, one or two words.
        id: The provider's identifier.
        name: Name for people.
        address: Node instance that it was made for; empty for what several share.
        created: When it was made, ISO 8601 with its offset, if the API tells.
    """

    kind: str
    id: str
    name: str
    address: str = ""
    created: str = ""


class MachineProvider(Protocol):
    """An infrastructure API. Every method may raise ProviderError; none waits without bound.

    Making the object asks nobody and needs neither place nor credentials: it is also made to be asked what it is.

    An error that may be gone a moment later (no answer, too many requests, HTTP 5xx) is raised with ``transient`` set,
    and with ``retry_after`` where the API says when to come back; one that a repetition cannot mend never is.

    Attributes:
        max_parallel: How many machines it makes or removes at the same time at most.
        can_start: Whether it can start a machine that was stopped. One that cannot finds such a machine unreachable.
        has_volumes: Whether it makes ``volumes_gb``. One that does not say so makes none, and is not asked for any.
    """

    max_parallel: int
    can_start: bool

    def open(self) -> None:
        """Make sure that the API can be used. Besides ``create`` the only method that may start something."""

    def close(self) -> None:
        """After a destroy: stop what ``open`` started, if nothing of anybody's is in it any longer."""

    def create(self, request: MachineRequest, progress: Callable[[str], None] = lambda _: None) -> Machine:
        """Make the machine and start it, or return the one that already carries ``request.token``.

        Of one that is there already nothing is changed but who reaches it, which is set as ``request.access`` says, and
        the user's tags.
        ``progress`` gets a line when something takes long, such as making an image for the first time.
        Shared parts (network, key) are made when they are missing. Returns once the provider has the machine running;
        whether SSH answers is the caller's business.
        """

    def start(self, machine_id: str) -> Machine:
        """Start a stopped machine again, or let a paused one go on; a running one is left as it is."""

    def adjust(self, machine_id: str, setup: Mapping[str, Value]) -> Machine:
        """Set again what is given of a machine's ``setup``, and leave the rest.

        It stays the same machine, with its identifier, address and disk; one that runs may be restarted if the API
        changes it only when it is stopped. What cannot be changed in place is a ProviderError that says what to do.
        """

    def delete(self, machine_id: str) -> None:
        """Remove the machine; one that is gone already is no error."""

    def find(self, deployment: DeploymentTag) -> Sequence[Machine]:
        """Every machine of the deployment, by tag, with its setup as it is now; once for all of them."""

    def release(self, deployment: DeploymentTag) -> None:
        """Remove shared parts (network, key, …) that no machine uses any longer."""

    def leftovers(self, deployment: DeploymentTag) -> Sequence[Resource]:
        """Everything that still carries the deployment's tag, machines included."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Something tagged as ours, and whose it is."""

    deployment: DeploymentTag
    resource: Resource


@runtime_checkable
class Cloud(Protocol):
    """A provider that orders from somebody else: what is ordered can be refused, costs money and outlives the state."""

    def check(self, requests: Sequence[MachineRequest]) -> Sequence[Diagnostic]:
        """What would make ``create`` of these fail, all at once and with the address of each; nothing is changed.

        Credentials, image and its architecture, flavor, zone, quota for all of them together, networks and keys that
        were given.
        """

    def adopt(self, machine_id: str, request: MachineRequest) -> Machine:
        """Tag a machine that was made by hand as the one of ``request``; it is neither restarted nor changed otherwise.

        ``request.token`` becomes its token, so that ``create`` finds it from now on. One that is another deployment's,
        or cannot be what is asked for (architecture, image of another system), is a ProviderError.
        """

    def owned(self) -> Sequence[Owned]:
        """Everything at this place that is tagged as ours, whichever deployment's, one list call a kind."""

    def remove(self, owned: Sequence[Owned]) -> Mapping[str, str]:
        """Remove these in the right order, repeating what others still hold; the reason by the id of what is left."""


class Place(Protocol):
    """A machine that is there already, and the way to do something on it: given by whoever has keys and passwords.

    Attributes:
        id: Where it is, ``user@host:port``, with the way to it if there is one; tells it from all others.
        address: Node instance that it is for.
        lineage: Of the deployment that asks.
        claimed: Identifier that ``create`` gave; empty if it was never claimed as far as the state knows.
        host: Address that SSH connects to.
        port: Port of SSH.
        user: Login name.
    """

    id: str
    address: str
    lineage: str
    claimed: str
    host: str
    port: int
    user: str

    @property
    def host_key(self) -> str:
        """Public host key, once it is known: given beforehand, recorded, or learned by ``run`` at first contact."""

    @property
    def details(self) -> Mapping[str, Value]:
        """What else has to be known to reach it later; no secret values."""

    def run(self, program: str, request: Mapping[str, Value], timeout: float, *, as_root: bool) -> Mapping[str, Value]:
        """Run a Python program on it, with all rights or those of the user.

        The program finds ``request`` as JSON text in REQUEST and prints JSON.

        Raises:
            RemoteError: If the machine cannot be reached, refuses the login or the rights, or has no Python.
        """


@runtime_checkable
class Settled(Protocol):
    """A provider of machines that are there already, so that it has to be told where they are."""

    def know(self, places: Iterable[Place]) -> None:
        """Called before every question that concerns these machines."""
