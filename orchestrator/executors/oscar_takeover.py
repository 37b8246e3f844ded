"""What a service takes over while others go: paths that are sent to still, and paths that another listened to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.clients.oscar import OscarUnreachableError
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.oscar_drain import Job, read_jobs, sort_inputs, was_taken
from orchestrator.executors.oscar_host import OscarHost, input_paths, split_path
from orchestrator.executors.oscar_shared import (
    host_of,
    is_shared,
    listened_to,
    marked,
    senders_to,
    services_of,
    wait_for_senders,
)
from orchestrator.planning.at_work import answers, sends_to
from orchestrator.planning.heirs import TOOK_OVER, going_beside, heirs_of
from orchestrator.planning.records import CONNECTS_TO, HOST, properties_of, targets_of
from orchestrator.state.former import is_former
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

if TYPE_CHECKING:
    from orchestrator.clients.object_store import ObjectStore

_PATH = "output_path"


def silence_rivals(request: OperationRequest, host: OscarHost) -> list[str]:
    """Let services that go listen no longer where a new one will, so that no file is taken by both.

    Returns:
        Names of these services; what came in between is given out again by :func:`give_again`.
    """
    own = set(input_paths(request.instance.properties))
    found = []
    for record, properties in services_of(request, host.address):
        name = str(properties["service"])
        if not _goes(record, request) or name == request.instance.properties["service"]:
            continue
        if not own.isdisjoint(input_paths(properties)) and stop_reading(host, name, own) is not None:
            found.append(name)
    return found


def give_again(request: OperationRequest, host: OscarHost, rivals: Iterable[str]) -> int:
    """Put again what came while neither the old service nor the new one listened; how many files that were.

    What others read as well is put beside it, marked, since it comes to them too.
    """
    name = str(request.instance.properties["service"])
    jobs = {f"{s}/{j}": job for s in (*rivals, name) for j, job in read_jobs(host.client, s).items()}
    number = 0
    with host.open_store() as store:
        for path in input_paths(request.instance.properties):
            if is_shared(request, host, path, [*rivals, name]):
                number += _put_marked(store, path, jobs, keep=True)
                continue
            bucket, folder = split_path(path)
            for key in sort_inputs(bucket, store.list_objects(bucket, folder), jobs).untouched:
                store.put(bucket, key, store.get(bucket, key))
                number += 1
    return number


def silenced_paths(request: OperationRequest, host: OscarHost, wanted: Iterable[str]) -> list[str]:
    """Paths that the service is to listen to, and was told not to by an earlier run that was cut off.

    One that merely listens to fewer than it is to was perhaps told so: nothing else tells it apart.

    Args:
        request: The operation.
        host: Where the service is registered.
        wanted: All that it is to listen to.
    """
    name, own = request.instance.properties["service"], request.record
    before = {
        path
        for record, held in services_of(request, host.address)
        if held["service"] == name and record.address != own.address
        for path in input_paths(held)
    }
    was_there = bool(before) or answers(own) or own.generation > 1
    service = host.client.read_service(str(name)) if was_there else None
    if service is None:
        return []
    listened = set(listened_to(service))
    fewer = listened <= set(wanted)
    return [p for p in input_paths(request.instance.properties) if p not in listened and (fewer or p in before)]


def give_back(
    request: OperationRequest, host: OscarHost, paths: Iterable[str], others: Iterable[InstanceRecord]
) -> int:
    """Put marked what came to paths that the service listened to no longer, and listens to again; how many files.

    Args:
        request: The operation.
        host: Where the service is.
        paths: The paths.
        others: Services elsewhere that were sent the same, and may have worked on it.
    """
    name = str(request.instance.properties["service"])
    jobs = read_jobs(host.client, name)
    for record in others:
        there = OscarHost.of(request.known[targets_of(record, HOST)[0]], request.secrets)
        jobs |= read_jobs(there.client, str(record.inputs["properties.service"]))
    with host.open_store() as store:
        return sum(_put_marked(store, p, jobs, keep=is_shared(request, host, p, [name])) for p in paths)


def _put_marked(store: ObjectStore, path: str, jobs: Mapping[str, Job], *, keep: bool) -> int:
    bucket, folder = split_path(path)
    found = store.list_objects(bucket, folder)
    inputs = sort_inputs(bucket, found, jobs)
    keys = [k for k in (*inputs.untouched, *inputs.unclear) if not was_taken(bucket, k, found[k], jobs)]
    number = 0
    for key in keys:
        target = f"{folder}{marked(key.removeprefix(folder))}"
        if target not in found or found[target].etag != found[key].etag:
            store.put(bucket, target, store.get(bucket, key))
            number += 1
        if not keep:
            store.delete(bucket, key)
    return number


def silence_branches(request: OperationRequest) -> None:
    """Before a service sends to both ends of a branch that moves, let the end that goes take nothing more from it.

    What comes to the old end from now on is handed over when that is retired, unless the new one was sent it too.
    """
    path = str(request.instance.properties[_PATH])
    hosts = {
        host
        for address in request.instance.requirements.get(CONNECTS_TO, ())
        if address in request.desired
        for host in request.desired[address].requirements.get(HOST, ())
    }
    for at in hosts & request.known.keys() if len(hosts) > 1 else ():
        for record, properties in services_of(request, at):
            if _goes(record, request) and path in input_paths(properties):
                heirs = [request.desired[a] for a in heirs_of(record, request.known, request.desired)]
                places = {h for i in heirs if path in input_paths(i.properties) for h in i.requirements.get(HOST, ())}
                if places & hosts and at not in places:
                    stop_reading(OscarHost.of(request.known[at], request.secrets), str(properties["service"]), {path})


def silence_predecessors(request: OperationRequest, host: OscarHost, patience: float) -> list[InstanceRecord]:
    """Before a service listens where others are sent the same already, let the ones it inherits from listen no longer.

    They are on other stores, to which the same files go as long as their predecessor is not rewired. It is waited for
    what that is delivering, so that nothing comes to the old one before this and to the new one after it.

    Returns:
        Records of those services.
    """
    own, address = input_paths(request.instance.properties), request.instance.address
    paths = [p for p in own if _is_sent(request, p, host.address)]
    # Its own record does not say yet what it takes over from.
    own_record = replace(request.record, attributes={**request.record.attributes, **newly_taken_over(request)})
    known = {**request.known, address: own_record}
    found = []
    for record in request.known.values() if paths else ():
        at = next((a for a in targets_of(record, HOST) if a in request.known and a != host.address), None)
        if at is None or not _goes(record, request) or "properties.input_path" not in record.inputs:
            continue
        properties = properties_of(record)
        common = set(paths) & set(input_paths(properties))
        if common and address in heirs_of(record, known, request.desired):
            name = str(properties["service"])
            try:
                stop_reading(OscarHost.of(request.known[at], request.secrets), name, common)
                found.append(record)
            except OscarUnreachableError as error:
                if at in request.desired:
                    raise
                request.progress(f"{name} cannot be told to take nothing more: {error.detail}")
    if found:
        wait_for_senders(request, paths, patience)
    return found


def newly_taken_over(request: OperationRequest) -> dict[str, Value]:
    """The attribute of a service that is made while others go that read the same: what it takes over from."""
    going = [] if answers(request.record) else going_beside(request.instance, request.known, request.desired)
    return {TOOK_OVER: list[Value](going)} if going else {}


def _is_sent(request: OperationRequest, path: str, host: str) -> bool:
    """Whether a service delivers to a path on a host, as far as it has been told."""
    return any(
        host in targets_of(target, HOST)
        for sender in senders_to(request, [path])
        for target in sends_to(sender, request.known)
    )


def stop_reading(host: OscarHost, name: str, paths: Iterable[str]) -> bool | None:
    """Let a service listen to some paths no longer; whether it did, ``None`` if there is no such service."""
    service = host.client.read_service(name)
    inputs = service.get("input") if service else None
    if service is None or not isinstance(inputs, list):
        return None
    gone = set(paths)
    kept = [i for i in inputs if not (isinstance(i, dict) and i.get("path") in gone)]
    return kept != inputs and host.client.replace_service({**service, "input": kept})


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
        host = host_of(request, record)
        if host is None:
            continue
        stop_reading(host, str(instance.properties["service"]), [path])


def _goes(record: InstanceRecord, request: OperationRequest) -> bool:
    return is_former(record.address) or bool(request.desired and record.address not in request.desired)
