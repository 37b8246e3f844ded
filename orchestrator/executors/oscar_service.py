"""Registers a component as a service in OSCAR, wired to the stores of the components that come next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.clients.oscar import LOOK_TIMEOUT, OscarRefusedError, OscarUnreachableError, observe_oscar
from orchestrator.errors import OperationError
from orchestrator.executors.base import OperationRequest, OperationResult
from orchestrator.executors.oscar_handover import Retirement, deregister
from orchestrator.executors.oscar_host import OscarHost, input_paths, text_of
from orchestrator.executors.oscar_shared import listened_to
from orchestrator.executors.oscar_takeover import (
    forget_sender,
    give_again,
    give_back,
    inherited_paths,
    newly_taken_over,
    silence_branches,
    silence_predecessors,
    silence_rivals,
    silenced_paths,
)
from orchestrator.planning.drift import compare, drifted, quantity
from orchestrator.planning.observation import Difference, Observation, Presence
from orchestrator.planning.records import HOST, properties_of, targets_of
from orchestrator.state.model import InstanceRecord
from orchestrator.state.secrets import references
from orchestrator.topology.model import Value

_PATIENCE = 300.0
"""Seconds that a service which goes may take for what it has begun."""

_OWN_STORE = "minio"
_SAME_CPU = 0.0005


class OscarServiceExecutor:
    """Registers, retires and removes services.

    Args:
        patience: Seconds that a service which goes may take for what it has begun.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self.patience = patience

    def run(self, request: OperationRequest) -> OperationResult:
        """Register the service (replacing one of that name); let it finish and hand over; or remove it."""
        if request.operation in ("stop", "delete") and request.record.address in request.desired:
            # It is made anew where it is: registering it replaces it, and nothing that comes meanwhile is missed.
            return OperationResult(changed=False)
        if request.operation == "stop":
            return self._stop(request)
        return self._delete(request) if request.operation == "delete" else self._configure(request)

    def observe(self, request: OperationRequest) -> Observation:
        """Look whether the service is registered as it should be, and whether the next stores answer."""
        try:
            record = _host_record(request)
            host = OscarHost.of(record, request.secrets, timeout=LOOK_TIMEOUT)
        except OperationError as error:
            return Observation(Presence.UNKNOWN, error.detail)
        try:
            found = host.client.read_service(_service_name(request))
        except OscarUnreachableError as error:
            return Observation(Presence.DEGRADED, f"OSCAR does not answer: {error.detail}")
        except OscarRefusedError as error:
            return Observation(Presence.DEGRADED, error.detail)
        if found is None:
            return Observation(Presence.MISSING, "the service is not registered")
        return self._compare(request, found)

    @staticmethod
    def _compare(request: OperationRequest, found: dict[str, Value]) -> Observation:
        """Whether results still go where they should: a cluster made anew has another address and certificate."""
        differences = service_differences(request, found)
        if differences:
            return drifted(differences)
        for record in _next_hosts(request):
            if record.address != _host_record(request).address:
                seen = observe_oscar(record)
                if seen.presence is Presence.DEGRADED:
                    return Observation(Presence.DEGRADED, f"its results cannot be delivered: {seen.detail}")
            name = text_of(record, "cluster_name") or record.node
            provider = _provider(found, name)
            if provider.get("endpoint") != text_of(record, "store_endpoint"):
                return Observation(Presence.DEGRADED, f"its results go to another store than that of {name}")
            if provider.get("ca_cert", "") != text_of(record, "ca_cert"):
                return Observation(Presence.DEGRADED, f"the store of {name} has a new certificate")
        return Observation(Presence.PRESENT)

    def _configure(self, request: OperationRequest) -> OperationResult:
        host = OscarHost.of(_host_record(request), request.secrets)
        following = [OscarHost.of(record, request.secrets) for record in _next_hosts(request)]
        image = _image_record(request)
        document = build_service(
            request.instance.properties, str(image.attributes["reference"]), following, inherited_paths(request)
        )
        request.progress(f"registering the service {document['name']} at {host.client.endpoint}")
        self._register_and_take_over(request, host, document)
        stores = [(h.store_endpoint, document_path) for h, document_path in _outputs(request, following or [host])]
        name = str(document["name"])
        return OperationResult(
            {
                "endpoint": f"{host.client.endpoint}/job/{name}",
                "service_url": f"{host.client.endpoint}/system/services/{name}",
                "inputs": [
                    {"store": host.store_endpoint, "path": path} for path in input_paths(request.instance.properties)
                ],
                "outputs": [{"store": store, "path": path} for store, path in stores],
                "image_digest": str(image.attributes.get("digest", "")),
                **newly_taken_over(request),
            }
        )

    def _register_and_take_over(self, request: OperationRequest, host: OscarHost, document: dict[str, Value]) -> None:
        """Register, so that nothing is taken by two that should be taken by one, and nothing by none."""
        name = str(document["name"])
        missed = silenced_paths(request, host, listened_to(document))
        rivals = silence_rivals(request, host)
        elsewhere = silence_predecessors(request, host, self.patience)
        silence_branches(request)
        _register(host, document)
        if rivals and (number := give_again(request, host, rivals)):
            request.progress(f"gave out {number} files again that came between {', '.join(rivals)} and {name}")
        if missed and (number := give_back(request, host, missed, elsewhere)):
            request.progress(f"gave out {number} files again, marked, that came while {name} did not listen")

    def _stop(self, request: OperationRequest) -> OperationResult:
        """Finish what it began and hand over the rest; where everything goes there is nobody to hand over to."""
        records = request.requirement_targets("host")
        if not request.desired or not records or not text_of(records[0], "endpoint"):
            return OperationResult(changed=False)
        changed = Retirement(request, OscarHost.of(records[0], request.secrets), self.patience).run()
        forget_sender(request)
        return OperationResult(changed=changed)

    @staticmethod
    def _delete(request: OperationRequest) -> OperationResult:
        records = request.requirement_targets("host")
        if not records or not text_of(records[0], "endpoint"):
            return OperationResult(changed=False)
        host = OscarHost.of(records[0], request.secrets)
        try:
            return OperationResult(changed=deregister(host, _service_name(request)))
        except OscarUnreachableError:
            if not request.desired or host.address in request.desired:
                raise
            return OperationResult(changed=False)


def service_differences(request: OperationRequest, found: Mapping[str, Value]) -> tuple[Difference, ...]:
    """What OSCAR says of a service and what it was registered with, by the names of the service's properties.

    It is compared with what is recorded and not with what is wanted, whose changes are not drift.
    """
    recorded = properties_of(request.record)
    image = next(iter(request.requirement_targets("image")), None)
    return (
        *(compare({"image": image.attributes.get("reference")}, found) if image is not None else ()),
        *compare({"script": str(recorded.get("script"))}, found),
        *_size_differences(recorded, found),
        *_path_differences(recorded, found),
        *_environment_differences(recorded.get("environment"), found.get("environment")),
    )


def _size_differences(recorded: Mapping[str, Value], found: Mapping[str, Value]) -> Iterator[Difference]:
    memory, cpu = quantity(found.get("memory")), quantity(found.get("cpu"))
    wanted_mb, wanted_cpu = int(str(recorded.get("memory_mb"))), float(str(recorded.get("cpu")))
    if memory is None or round(memory / 2**20) != wanted_mb:
        yield Difference("memory_mb", wanted_mb, None if memory is None else round(memory / 2**20))
    if cpu is None or abs(cpu - wanted_cpu) > _SAME_CPU:
        yield Difference("cpu", recorded.get("cpu"), cpu)
    for name, key in (("gpu", "enable_gpu"), ("trusted_execution", "enable_sgx")):
        if (found.get(key) is True) != (recorded.get(name) is True):
            yield Difference(name, recorded.get(name) is True, found.get(key) is True)


def _path_differences(recorded: Mapping[str, Value], found: Mapping[str, Value]) -> Iterator[Difference]:
    more = recorded.get("more_input_paths")
    inputs = [str(p) for p in (recorded.get("input_path"), *(more if isinstance(more, list) else ()))]
    if _paths(found.get("input")) != inputs:
        yield Difference("input_path", ", ".join(inputs), ", ".join(_paths(found.get("input"))) or None)
    output = str(recorded.get("output_path"))
    if set(_paths(found.get("output"))) != {output}:
        yield Difference("output_path", output, ", ".join(dict.fromkeys(_paths(found.get("output")))) or None)


def _paths(entries: Value) -> list[str]:
    return [str(e.get("path", "")) for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _environment_differences(recorded: Value, found: Value) -> tuple[Difference, ...]:
    """Variables that are other than they were set; one whose value is a secret is not shown."""
    wanted = {k: _variable(v) for k, v in recorded.items()} if isinstance(recorded, dict) else {}
    held = found.get("Variables") if isinstance(found, dict) else None
    seen = {k: str(v) for k, v in held.items()} if isinstance(held, dict) else {}
    open_ones = {k: v for k, v in wanted.items() if not references(v)}
    differing = compare(open_ones, seen)
    if not differing:
        return ()
    names = [d.name for d in differing]
    return (Difference("environment", {k: wanted[k] for k in names}, {k: seen[k] for k in names if k in seen}),)


def build_service(
    properties: Any, image: str, following: Iterable[OscarHost], inherited: Sequence[str] = ()
) -> dict[str, Value]:
    """The service as OSCAR's API takes it.

    Args:
        properties: Properties of the service's node: a mapping of name to value.
        image: Reference of its image.
        following: Hosts of the services that take its results; none if it is the last one, which keeps them.
        inherited: Paths that it listens to as long as something that goes still sends there.
    """
    hosts = list({h.name: h for h in following}.values())
    paths = [*input_paths(properties), *inherited]
    places = [f"{_OWN_STORE}.{h.name}" for h in hosts] or [_OWN_STORE]
    environment = properties.get("environment") or {}
    document: dict[str, Value] = {
        "name": str(properties["service"]),
        "image": image,
        "script": str(properties["script"]),
        "memory": f"{int(properties['memory_mb'])}Mi",
        "cpu": f"{float(properties['cpu']):g}",
        "enable_gpu": properties.get("gpu") is True,
        "enable_sgx": properties.get("trusted_execution") is True,
        "input": [{"storage_provider": _OWN_STORE, "path": str(p)} for p in paths],
        "output": [{"storage_provider": place, "path": str(properties["output_path"])} for place in places],
        "environment": {"Variables": {str(k): _variable(v) for k, v in environment.items()}},
    }
    if hosts:
        document["storage_providers"] = {"minio": {h.name: h.storage_provider() for h in hosts}}
    return document


def _variable(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _register(host: OscarHost, document: dict[str, Value]) -> None:
    """Register, and see that OSCAR answers for the service; one that is away is asked again by the general retries."""
    try:
        host.client.put_service(document)
    except OscarUnreachableError as error:
        error.detail += f" It was to register the service {document['name']}."
        raise
    found = host.client.read_service(str(document["name"]))
    if found is None or found.get("image") != document["image"]:
        raise OperationError(
            "A service was registered and does not show.",
            detail=f"{host.client.endpoint} took {document['name']} and does not list it with its image.",
            resolution="Look at that OSCAR's log, and apply again: what was there before still works.",
        )


def _outputs(request: OperationRequest, hosts: list[OscarHost]) -> list[tuple[OscarHost, str]]:
    path = str(request.instance.properties["output_path"])
    return [(h, path) for h in {h.name: h for h in hosts}.values()]


def _host_record(request: OperationRequest) -> InstanceRecord:
    records = request.requirement_targets("host")
    if not records:
        raise OperationError(
            "A service has no OSCAR to run on.",
            detail=f"{request.instance.address} requires a host, and none of its targets is recorded.",
            resolution="Apply the whole deployment.",
        )
    return records[0]


def _image_record(request: OperationRequest) -> InstanceRecord:
    records = request.requirement_targets("image")
    if not records or not records[0].attributes.get("reference"):
        raise OperationError(
            "A service has no image to run.",
            detail=f"{request.instance.address} requires an image, and none of its targets was built.",
            resolution="Apply the whole deployment.",
        )
    return records[0]


def _next_hosts(request: OperationRequest) -> list[InstanceRecord]:
    """Records of the hosts of the services that take this one's results, each once."""
    found: dict[str, InstanceRecord] = {}
    for service in request.requirement_targets("connects_to"):
        for address in targets_of(service, HOST):
            if address in request.known:
                found[address] = request.known[address]
    return list(found.values())


def _provider(service: dict[str, Value], name: str) -> dict[str, Value]:
    place: Value = service.get("storage_providers")
    for key in ("minio", name):
        place = place.get(key) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def _service_name(request: OperationRequest) -> str:
    return str(request.instance.properties["service"])
