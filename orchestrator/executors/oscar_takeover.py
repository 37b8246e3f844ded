"""What a service takes over while others go: paths that are sent to still, and paths that another listened to."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.executors.base import OperationRequest
from orchestrator.executors.oscar_drain import read_jobs, sort_inputs
from orchestrator.executors.oscar_host import OscarHost, input_paths, split_path
from orchestrator.planning.records import CONNECTS_TO, HOST, targets_of
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

_PATH = "output_path"


def silence_rivals(request: OperationRequest, host: OscarHost) -> list[str]:
    """Let services that go listen no longer where a new one will, so that no file is taken by both.

    Returns:
        Names of these services; what came in between is given out again by :func:`give_again`.
    """
    own = set(input_paths(request.instance.properties))
    found = []
    for record in request.known.values():
        properties = _properties(record)
        name = str(properties.get("service") or "")
        if not _goes(record, request) or host.address not in targets_of(record, HOST) or "input_path" not in properties:
            continue
        if name == request.instance.properties["service"] or own.isdisjoint(input_paths(properties)):
            continue
        service = host.client.read_service(name)
        inputs = service.get("input") if service else None
        if service is not None and isinstance(inputs, list):
            kept = [i for i in inputs if not (isinstance(i, dict) and i.get("path") in own)]
            host.client.replace_service({**service, "input": kept})
            found.append(name)
    return found


def give_again(request: OperationRequest, host: OscarHost, rivals: Iterable[str]) -> int:
    """Put again what came while neither the old service nor the new one listened; how many files that were."""
    name = str(request.instance.properties["service"])
    jobs = {f"{s}/{j}": job for s in (*rivals, name) for j, job in read_jobs(host.client, s).items()}
    number = 0
    with host.open_store() as store:
        for path in input_paths(request.instance.properties):
            bucket, folder = split_path(path)
            for key in sort_inputs(bucket, store.list_objects(bucket, folder), jobs).untouched:
                store.put(bucket, key, store.get(bucket, key))
                number += 1
    return number


def inherited_paths(request: OperationRequest) -> list[str]:
    """Paths that a service goes on listening to, since something that goes still sends its results there."""
    return [str(r.inputs[f"properties.{_PATH}"]) for r in leaving_senders(request, request.record)]


def leaving_senders(request: OperationRequest, receiver: InstanceRecord) -> list[InstanceRecord]:
    """Services that go and are still wired to the very object that a record stands for."""
    own = set(input_paths(request.instance.properties))
    found = []
    for record in request.known.values():
        wired = record.wired.get(request.instance.address, receiver.generation) == receiver.generation
        sends = request.instance.address in targets_of(record, CONNECTS_TO)
        if _goes(record, request) and wired and sends and record.inputs.get(f"properties.{_PATH}") not in own:
            found.append(record)
    return found


def forget_sender(request: OperationRequest) -> None:
    """Let the services that a retired one sent to listen no longer to what comes from it."""
    path = str(request.instance.properties.get(_PATH) or "")
    for address in request.instance.requirements.get(CONNECTS_TO, ()):
        record, instance = request.known.get(address), request.desired.get(address)
        if record is None or instance is None or path in input_paths(instance.properties):
            continue
        hosts = [request.known[a] for a in targets_of(record, HOST) if a in request.known]
        if not hosts:
            continue
        host = OscarHost.of(hosts[0], request.secrets)
        service = host.client.read_service(str(instance.properties["service"]))
        inputs = service.get("input") if service else None
        if service is None or not isinstance(inputs, list):
            continue
        kept = [i for i in inputs if not (isinstance(i, dict) and i.get("path") == path)]
        if kept != inputs:
            host.client.replace_service({**service, "input": kept})


def _goes(record: InstanceRecord, request: OperationRequest) -> bool:
    return is_former(record.address) or bool(request.desired and record.address not in request.desired)


def _properties(record: InstanceRecord) -> dict[str, Value]:
    return {k.removeprefix("properties."): v for k, v in record.inputs.items() if k.startswith("properties.")}
