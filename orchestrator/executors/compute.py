"""Makes, mends and removes machines through the provider that the profile names."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from orchestrator.errors import ProviderError
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.first_contact import LOGIN_TIMEOUT, meet, renew_host_key, with_recorded_keys
from orchestrator.executors.machine_request import hostname_of, machine_request
from orchestrator.executors.places import introduce, place_of
from orchestrator.executors.ssh_key import authorized_key
from orchestrator.planning.drift import compare_attributes, drifted, in_words
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.planning.records import instance_of_record
from orchestrator.providers.base import (
    LABELS,
    SECURITY_RULES,
    Cloud,
    Machine,
    MachineProvider,
    MachineRequest,
    MachineState,
    Settled,
)
from orchestrator.providers.registry import load_provider
from orchestrator.remote.target import is_host_key
from orchestrator.topology.model import Value

_SET_ANEW = (SECURITY_RULES, LABELS)
"""What is set as it is wanted now whenever a machine is asked for."""

BOOT_TIMEOUT = 180.0
"""Seconds from "the provider has it running" to "SSH answers"."""


class MachineExecutor:
    """Runs ``create`` and ``delete`` of machines. One list call a provider serves all observations of a refresh."""

    def __init__(self) -> None:
        self._providers: dict[str, MachineProvider] = {}
        self._found: dict[str, dict[str, Machine]] = {}
        self._to_remove: dict[str, Sequence[Machine]] = {}
        self._asking: dict[str, Lock] = {}
        self._lock = Lock()

    def run(self, request: OperationRequest) -> OperationResult:
        """Create (or find by its token and start again) the machine, have it shown its own host key, or delete it."""
        if request.operation == "start":
            return OperationResult(renew_host_key(request))
        provider, place = self._provider_of(request)
        if request.operation == "delete":
            return self._delete(request, provider)
        machine = provider.create(_asked_for(request, place, provider), request.progress)
        machine = mended(machine, provider, request)
        limit = LOGIN_TIMEOUT if place else BOOT_TIMEOUT
        request.progress(f"waiting for SSH at {machine.host}, {limit:.0f} s at most")
        told = attributes_of(machine, hostname_of(request.instance))
        return OperationResult(meet(request, told, limit, renews=isinstance(provider, Cloud)))

    def observe(self, request: OperationRequest) -> Observation:
        """Whether the provider still has the machine, running and set up as it was recorded."""
        found = self._machines(request)
        machine = found.get(request.instance.address)
        if machine is None:
            return Observation(Presence.MISSING, "the provider has no such machine")
        if machine.state is MachineState.UNREACHABLE:
            away = Difference("state", MachineState.RUNNING.value, MachineState.UNREACHABLE.value)
            detail = f"the machine cannot be worked on: {machine.reason}"
            return Observation(Presence.DEGRADED, detail, differences=(away,))
        attributes = with_recorded_keys(attributes_of(machine, hostname_of(request.instance)), request.record)
        if not is_host_key(attributes["host_key"]):
            # Nobody knew it beforehand; what the machine showed at the first contact is recorded.
            del attributes["host_key"]
        differences = compare_attributes(request.record.attributes, attributes)
        if machine.state is not MachineState.RUNNING:
            state = Difference("state", MachineState.RUNNING.value, machine.state.value)
            detail = "; ".join(filter(None, (f"the machine is {machine.state.value}", in_words(differences))))
            return Observation(Presence.DEGRADED, detail, attributes, (state, *differences))
        return drifted(differences, "running", attributes)

    def _delete(self, request: OperationRequest, provider: MachineProvider) -> OperationResult:
        machine_id = request.record.attributes.get("machine_id")
        ids = {str(machine_id)} if machine_id else set()
        ids.update(m.id for m in self._listed(request, provider) if m.address == request.instance.address)
        for found in sorted(ids):
            provider.delete(found)
        return OperationResult()

    def _listed(self, request: OperationRequest, provider: MachineProvider) -> Sequence[Machine]:
        """What the provider has of the deployment; asked once for all that a run removes."""
        if isinstance(provider, Settled):
            return provider.find(request.tag)
        name = request.instance.provider
        with self._asked(name):
            if name not in self._to_remove:
                self._to_remove[name] = tuple(provider.find(request.tag))
            return self._to_remove[name]

    def _asked(self, name: str) -> Lock:
        with self._lock:
            return self._asking.setdefault(name, Lock())

    def _provider(self, name: str) -> MachineProvider:
        with self._lock:
            if name not in self._providers:
                self._providers[name] = load_provider(name)
            return self._providers[name]

    def _machines(self, request: OperationRequest) -> dict[str, Machine]:
        name = request.instance.provider
        provider = self._provider(name)
        # One question a provider, and no provider waits for the answer of another.
        with self._asked(name):
            if name not in self._found:
                self._introduce_all(request, provider)
                self._found[name] = {m.address: m for m in provider.find(request.tag)}
            return self._found[name]

    def _provider_of(self, request: OperationRequest) -> tuple[MachineProvider, str]:
        """The provider, and the place of the machine if it is there already."""
        provider = self._provider(request.instance.provider)
        if not isinstance(provider, Settled):
            return provider, ""
        # One for each machine: what is looked for is at this place only.
        provider = load_provider(request.instance.provider)
        place = place_of(
            request.instance,
            request.record,
            request.tag.lineage,
            request.secrets,
            request.folders.deployment,
            request.progress,
        )
        return introduce(provider, [place] if place else []), place.id if place else ""

    def _introduce_all(self, request: OperationRequest, provider: MachineProvider) -> None:
        """Tell the provider where all machines are that the state has, as it has them."""
        if not isinstance(provider, Settled):
            return
        name, lineage, folder = request.instance.provider, request.tag.lineage, request.folders.deployment
        records = [record for record in request.known.values() if record.provider == name]
        places = (place_of(instance_of_record(r), r, lineage, request.secrets, folder) for r in records)
        provider.know([place for place in places if place])


def _asked_for(request: OperationRequest, place: str, provider: MachineProvider) -> MachineRequest:
    pending = request.record.pending
    return machine_request(
        request.instance,
        request.tag,
        pending.token if pending else "",
        authorized_key(request.secrets, request.folders.deployment),
        place,
        _new_host_key() if isinstance(provider, Cloud) else "",
    )


def _new_host_key() -> str:
    from orchestrator.remote.keys import generate_key  # noqa: PLC0415 - takes long, and a look does not need it

    return generate_key()[0]


def mended(machine: Machine, provider: MachineProvider, request: OperationRequest) -> Machine:
    """The machine set up as it was recorded, where somebody changed it since, and running."""
    recorded = request.record.attributes
    changed = tuple(d for d in compare_attributes(recorded, machine.setup) if d.name not in _SET_ANEW)
    if changed:
        request.progress(f"setting it up as it was: {in_words(changed)}")
        machine = provider.adjust(machine.id, {d.name: d.recorded for d in changed})
        still = tuple(d for d in compare_attributes(recorded, machine.setup) if d.name not in _SET_ANEW)
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


def attributes_of(machine: Machine, hostname: str) -> dict[str, Value]:
    """What is recorded of a machine, as far as its provider tells."""
    return {
        "machine_id": machine.id,
        "host": machine.host,
        "port": machine.port,
        "user": machine.user,
        "host_key": machine.host_key,
        "hostname": hostname,
        **machine.setup,
        **machine.details,
    }
