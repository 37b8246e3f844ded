"""Makes, mends and removes machines through the provider that the profile names."""

from __future__ import annotations

from threading import Lock

from orchestrator.errors import ProviderError
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.ssh_key import authorized_key, key_file, private_key
from orchestrator.planning.drift import compare_attributes, drifted, in_words
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.providers.base import Machine, MachineProvider, MachineRequest, MachineState
from orchestrator.providers.registry import load_provider
from orchestrator.remote.target import SshTarget
from orchestrator.topology.model import Value

BOOT_TIMEOUT = 180.0
"""Seconds from "the provider has it running" to "SSH answers"."""


class MachineExecutor:
    """Runs ``create`` and ``delete`` of machines. One list call a provider serves all observations of a refresh."""

    def __init__(self) -> None:
        self._providers: dict[str, MachineProvider] = {}
        self._found: dict[str, dict[str, Machine]] = {}
        self._asking: dict[str, Lock] = {}
        self._lock = Lock()

    def run(self, request: OperationRequest) -> OperationResult:
        """Create (or find by its token and start again) the machine, or delete it."""
        provider = self._provider(request.instance.provider)
        if request.operation == "delete":
            return self._delete(request, provider)
        from orchestrator.remote.ssh import wait_for_ssh  # noqa: PLC0415 - takes long, and a look does not need it

        machine = provider.create(self._machine_request(request), request.progress)
        machine = mended(machine, provider, request)
        request.progress(f"waiting for SSH at {machine.host}, {BOOT_TIMEOUT:.0f} s at most")
        with key_file(private_key(request.secrets, request.folders.deployment)) as key:
            target = SshTarget(machine.host, machine.port, machine.user, key, machine.host_key)
            wait_for_ssh(target, BOOT_TIMEOUT, request.cancel)
        return OperationResult(_attributes(machine, _hostname(request)))

    def observe(self, request: OperationRequest) -> Observation:
        """Whether the provider still has the machine, running and set up as it was recorded."""
        found = self._machines(request)
        machine = found.get(request.instance.address)
        if machine is None:
            return Observation(Presence.MISSING, "the provider has no such machine")
        attributes = _attributes(machine, _hostname(request))
        differences = compare_attributes(request.record.attributes, attributes)
        if machine.state is not MachineState.RUNNING:
            state = Difference("state", MachineState.RUNNING.value, machine.state.value)
            detail = "; ".join(filter(None, (f"the machine is {machine.state.value}", in_words(differences))))
            return Observation(Presence.DEGRADED, detail, attributes, (state, *differences))
        return drifted(differences, "running", attributes)

    def _delete(self, request: OperationRequest, provider: MachineProvider) -> OperationResult:
        machine_id = request.record.attributes.get("machine_id")
        ids = {str(machine_id)} if machine_id else set()
        ids.update(m.id for m in provider.find(request.tag) if m.address == request.instance.address)
        for found in sorted(ids):
            provider.delete(found)
        return OperationResult()

    def _provider(self, name: str) -> MachineProvider:
        with self._lock:
            if name not in self._providers:
                self._providers[name] = load_provider(name)
            return self._providers[name]

    def _machines(self, request: OperationRequest) -> dict[str, Machine]:
        name = request.instance.provider
        provider = self._provider(name)
        with self._lock:
            asking = self._asking.setdefault(name, Lock())
        # One question a provider, and no provider waits for the answer of another.
        with asking:
            if name not in self._found:
                self._found[name] = {m.address: m for m in provider.find(request.tag)}
            return self._found[name]

    def _machine_request(self, request: OperationRequest) -> MachineRequest:
        host = request.instance.capabilities.get("host", {})
        system = request.instance.capabilities.get("os", {})
        pending = request.record.pending
        return MachineRequest(
            deployment=request.tag,
            address=request.instance.address,
            token=pending.token if pending else "",
            hostname=_hostname(request),
            architecture=str(request.instance.settings.get("architecture") or system.get("architecture", "amd64")),
            cpus=int(str(host.get("num_cpus", 1))),
            memory_mb=_mebibytes(host.get("mem_size", "1024 MB")),
            authorized_key=authorized_key(request.secrets, request.folders.deployment),
            settings=request.instance.settings,
        )


def mended(machine: Machine, provider: MachineProvider, request: OperationRequest) -> Machine:
    """The machine set up as it was recorded, where somebody changed it since, and running."""
    recorded = request.record.attributes
    changed = compare_attributes(recorded, machine.setup)
    if changed:
        request.progress(f"setting it up as it was: {in_words(changed)}")
        machine = provider.adjust(machine.id, {d.name: d.recorded for d in changed})
        still = compare_attributes(recorded, machine.setup)
        if still:
            raise ProviderError(
                "A machine could not be set up as it was.",
                detail=f"{request.instance.address}: {in_words(still)}, though its provider was asked to change it.",
                resolution="Accept it with `--refresh-only`, or make the machine anew with `--replace`.",
            )
    if machine.state is not MachineState.RUNNING:
        request.progress("starting it again")
        machine = provider.start(machine.id)
    return machine


def _hostname(request: OperationRequest) -> str:
    """A DNS label that is unique in the deployment: node name and index."""
    return f"{request.instance.node}-{request.instance.index}".replace("_", "-").lower()[:63]


def _mebibytes(size: Value) -> int:
    number, _, unit = str(size).partition(" ")
    factor = {"": 1 / 1048576, "B": 1 / 1048576, "KB": 1 / 1024, "MB": 1, "MIB": 1, "GB": 1024, "GIB": 1024}
    return max(1, int(float(number) * factor.get(unit.strip().upper(), 1)))


def _attributes(machine: Machine, hostname: str) -> dict[str, Value]:
    return {
        "machine_id": machine.id,
        "host": machine.host,
        "port": machine.port,
        "user": machine.user,
        "host_key": machine.host_key,
        "hostname": hostname,
        **machine.setup,
    }
