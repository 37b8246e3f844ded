"""Paths that several services of one store read, as the branches of a fork do.

What lies there belongs to each of them: nothing is taken from there for one that goes, and what is handed over to a
path that others read as well comes to them too, so that it is marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.clients.oscar import OscarClient, OscarUnreachableError
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.oscar_drain import (
    CLOCKS,
    Job,
    read_jobs,
    taken_inputs,
    unfinished,
    wait_until_ended,
    was_taken,
)
from orchestrator.executors.oscar_host import OscarHost, input_paths, split_path
from orchestrator.planning.records import HOST, properties_of, targets_of
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value

if TYPE_CHECKING:
    from orchestrator.clients.object_store import ObjectStore, StoredObject

MARK = "again-"
"""Begins the name of a file that was handed over although it may have been worked on: it may come out twice."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a bucket of an open store.

    Attributes:
        store: The store.
        bucket: The bucket.
        folder: The folder, with a slash at its end, or empty.
        shared: Whether more than one service reads it.
        reader: The OSCAR and the name of the service that takes over here.
    """

    store: ObjectStore
    bucket: str
    folder: str
    shared: bool = False
    reader: tuple[OscarClient, str] | None = None

    @classmethod
    def at(
        cls, store: ObjectStore, path: str, *, shared: bool = False, reader: tuple[OscarClient, str] | None = None
    ) -> Place:
        """The place that a service's path names."""
        return cls(store, *split_path(path), shared, reader)

    def find(self, name: str) -> tuple[str, StoredObject | None]:
        """The key of a file of that name, marked or not, and what is there."""
        key = f"{self.folder}{name}"
        return key, self.store.list_objects(self.bucket, key).get(key)

    def read_jobs(self) -> dict[str, Job]:
        """What the service that takes over is known to have taken, where others read the same."""
        return read_jobs(*self.reader) if self.shared and self.reader else {}


def marked(name: str) -> str:
    """A name with the mark at the beginning of its last part."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{MARK}{last}"


def is_there(place: Place, heir: Place, name: str, jobs: Mapping[str, Job]) -> bool:
    """Whether an heir has been sent a file as well, or was given it already.

    Args:
        place: Where the file was left.
        heir: Where the heir reads.
        name: Name of the file.
        jobs: Those of the heir, if others read there too: they may have been sent the file long before it came.
    """
    _, own = place.find(name)
    key, other = heir.find(name)
    if own is None or other is None or other.etag != own.etag or other.modified < own.modified - CLOCKS:
        return False
    return not heir.shared or was_taken(heir.bucket, key, other, jobs)


def is_shared(request: OperationRequest, host: OscarHost, path: str, names: Iterable[str]) -> bool:
    """Whether another service on a host reads a path, going or staying, or has something from there to work on.

    Args:
        request: The operation.
        host: The host.
        path: The bucket path.
        names: Services that are not meant.
    """
    left_out = set(names)
    for _record, properties in services_of(request, host.address):
        name = str(properties["service"])
        if name not in left_out and (path in input_paths(properties) or _still_reads(host.client, name, path)):
            return True
    return False


def wait_for_senders(request: OperationRequest, paths: Iterable[str], patience: float) -> bool:
    """Until jobs that may still send to some paths have ended: their services send elsewhere by now, they perhaps not.

    Args:
        request: The operation; its own service is not waited for.
        paths: Bucket paths.
        patience: Seconds to wait for each service.

    Returns:
        False if some have not, or cannot be asked.
    """
    all_ended = True
    for record in senders_to(request, paths):
        host = host_of(request, record)
        if host is None:
            continue
        client = host.client
        service = str(record.inputs.get("properties.service"))
        try:
            begun = unfinished(client, service)
            look = partial(_still, client, service, begun)
            all_ended &= wait_until_ended(look, service, patience, request.cancel, request.progress)
        except OscarUnreachableError as error:
            request.progress(f"{service} cannot be asked what it still sends: {error.detail}")
            all_ended = False
    return all_ended


def host_of(request: OperationRequest, record: InstanceRecord) -> OscarHost | None:
    """The OSCAR that a recorded service is on; ``None`` if that is not recorded."""
    found = next((request.known[a] for a in targets_of(record, HOST) if a in request.known), None)
    return OscarHost.of(found, request.secrets) if found is not None else None


def senders_to(request: OperationRequest, paths: Iterable[str]) -> list[InstanceRecord]:
    """Other services whose results go to one of some paths, on whatever store."""
    wanted = set(paths)
    return [
        record
        for record in request.known.values()
        if record.inputs.get("properties.output_path") in wanted and record.address != request.record.address
    ]


def _still(client: OscarClient, service: str, begun: set[str]) -> set[str]:
    return unfinished(client, service) & begun


def services_of(request: OperationRequest, host: str) -> Iterator[tuple[InstanceRecord, dict[str, Value]]]:
    """Recorded services on a host, with the properties that they were made with."""
    for record in request.known.values():
        properties = properties_of(record)
        if "input_path" in properties and "service" in properties and host in targets_of(record, HOST):
            yield record, properties


def _still_reads(client: OscarClient, name: str, path: str) -> bool:
    """Whether a service listens to a path, or a job of it that has not ended works on something from there."""
    service = client.read_service(name)
    if service is None:
        return False
    if path in listened_to(service):
        return True
    begin = "{}/{}".format(*split_path(path))
    logs = (client.read_log(name, job) for job in unfinished(client, name))
    return any(place.startswith(begin) for log in logs for place in taken_inputs(log))


def listened_to(service: Mapping[str, Value]) -> list[str]:
    """Paths that a service of OSCAR listens to."""
    inputs = service.get("input")
    return [str(i.get("path")) for i in inputs if isinstance(i, dict)] if isinstance(inputs, list) else []
