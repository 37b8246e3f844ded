"""Puts a file in at a component and brings back what comes out at the end of the pipeline."""

from __future__ import annotations

import re
import secrets as random_secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.clients.object_store import ObjectStore, ObjectStoreError, open_store
from orchestrator.clients.oscar import OscarRefusedError, OscarUnreachableError
from orchestrator.errors import OperationError, UsageError
from orchestrator.executors.oscar_host import OscarHost
from orchestrator.executors.oscar_shared import MARK
from orchestrator.manifest.ends import first_services
from orchestrator.planning.at_work import sends_to, services_at_work
from orchestrator.state.model import InstanceRecord, State
from orchestrator.state.secrets import SecretStore

_LARGEST_FILE = 64 * 1024 * 1024
_POLL = 0.5
_LOOK_AT_JOBS_EVERY = 4
_LOG_LINES = 15
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Service:
    """A registered service: its record, its host, and the bucket paths it reads and writes."""

    name: str
    component: str
    record: InstanceRecord
    host: OscarHost
    input_path: str
    output_path: str

    @property
    def place(self) -> str:
        """What tells it from all others: a former one has its successor's name, on another host."""
        return f"{self.host.address}/{self.name}"


def invoke(
    state: State,
    secrets: SecretStore,
    component: str,
    file: Path,
    out: Path,
    timeout: float = 120.0,
    progress: Callable[[str], None] = lambda _line: None,
    reread: Callable[[], State] | None = None,
) -> list[Path]:
    """Send a file through the pipeline, from one component on.

    Args:
        state: State of an applied deployment.
        secrets: Its secret values.
        component: Where the file goes in.
        file: What goes in; its name is kept behind a token that tells this call from others.
        out: Where the result goes: a file, or a folder; see :func:`_destinations` for several results.
        timeout: Seconds to wait for the results.
        progress: Called with a short line when something worth showing happens.
        reread: Gives the state as it is now, for a deployment that changes meanwhile.

    Returns:
        The files that were written.

    Raises:
        UsageError: If there is no such component or file.
        OperationError: If a service failed or no result came in time; carries the end of the services' logs.
        RemoteError: If a store or an OSCAR does not answer.
    """
    _record_of(state, component)
    content = _read(file)
    call = _Call(f"invoke-{random_secrets.token_hex(4)}-", component, secrets, reread)
    with call.stack:
        start = call.follow(state)
        progress(f"putting {file.name} in at {start.component}")
        before = call.job_names()
        _put(call, start, f"{call.token}{_safe_name(file)}", content)
        found = _await_results(call, before, time.monotonic() + timeout, timeout)
        number = sum(len(keys) for keys in found.values())
        progress(f"{number} result{'' if number == 1 else 's'} after the last component")
        return _bring(call, found, out)


@dataclass(slots=True)
class _Call:
    """One call: its token, the services it may pass, and those at whose ends results are expected.

    A deployment may change meanwhile. What was wired when the file was put in stays whole until the file is through, or
    hands it over; so results come out at all the ends of some wiring that was in force since.

    Attributes:
        token: Begins the file's name.
        component: Where the file goes in.
        secrets: The deployment's secret values.
        reread: Gives the state as it is now; ``None`` if it does not change.
        services: Services by place.
        sinks: Those at an end, by place.
        ways: Places of the ends of every wiring.
        stores: Open stores by place.
        stack: Closes them.
        serial: Of the state last looked at.
    """

    token: str
    component: str
    secrets: SecretStore
    reread: Callable[[], State] | None = None
    services: dict[str, Service] = field(default_factory=dict)
    sinks: dict[str, Service] = field(default_factory=dict)
    ways: dict[frozenset[str], None] = field(default_factory=dict)
    stores: dict[str, ObjectStore] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    serial: int = -1

    def follow(self, state: State) -> Service:
        """Take in how a state is wired; the service where files go in by it."""
        self.serial = state.serial
        start = _service(_record_of(state, self.component), state, self.secrets)
        services = [_service(record, state, self.secrets) for record in _downstream(start.record, state)]
        sinks = {s.place: s for s in services if not _targets(s.record, "connects_to")}
        self.services |= {s.place: s for s in services}
        self.sinks |= sinks
        self.ways[frozenset(sinks)] = None
        for service in (start, *sinks.values()):
            if service.place not in self.stores:
                self.stores[service.place] = self.stack.enter_context(_open(service.host))
        return start

    def look_again(self) -> Service | None:
        """Follow what changed since; ``None`` if nothing did."""
        state = self.reread() if self.reread is not None else None
        if state is None or state.serial == self.serial:
            return None
        if self.component not in {_component(r) for r in _services(state)}:
            # The component was split or renamed: its files go to what is now first.
            at_work = services_at_work(state.instances)
            self.component = next(map(_component, first_services(at_work, state)), self.component)
        return self.follow(state)

    def job_names(self) -> dict[str, set[str]]:
        """Jobs that every service remembers; none for one that does not tell."""
        return {place: set(_jobs(service)) for place, service in self.services.items()}

    def logs(self, before: Mapping[str, set[str]]) -> Iterator[tuple[Service, str, str]]:
        """Service, status and log of every job that began since ``before`` and names the token."""
        for place, service in self.services.items():
            for job, status in _jobs(service).items():
                if job not in before.get(place, set()):
                    log = service.host.client.read_log(service.name, job)
                    if self.token in log:
                        yield service, status, log


def _put(call: _Call, start: Service, name: str, content: bytes) -> None:
    """Put the file in; if its place has just gone, where files go in by now."""
    bucket, folder = _split(start.input_path)
    try:
        call.stores[start.place].put(bucket, f"{folder}{name}", content)
    except ObjectStoreError:
        now = call.look_again()
        if now is None:
            raise
        bucket, folder = _split(now.input_path)
        call.stores[now.place].put(bucket, f"{folder}{name}", content)


def _await_results(
    call: _Call, before: Mapping[str, set[str]], deadline: float, timeout: float
) -> dict[str, list[str]]:
    """Keys of the results at every sink, once all of some wiring are there and no more are coming."""
    found: dict[str, list[str]] = {}
    turn = 0
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        turn += 1
        seen = {
            place: _results(service, call.stores[place], call.token, is_alone=len(call.ways) == 1)
            for place, service in call.sinks.items()
        }
        # A component may leave several files: two equal looks and no job under way say that these are all.
        settled = seen == found and any(all(seen[place] for place in way) for way in call.ways)
        found = seen
        if settled and not _busy(call, before):
            return found
        if turn % _LOOK_AT_JOBS_EVERY == 0:
            call.look_again()
            _stop_if_failed(call, before)
    missing = ", ".join(call.sinks[place].component for place, keys in found.items() if not keys) or "every component"
    raise OperationError(
        "No result came in time.",
        detail=f"Nothing came out of {missing} within {timeout:g} s.\n{_told(call, before)}".rstrip(),
        resolution="Look at the machines with `deploy status`, or wait longer with --timeout.",
    )


def _stop_if_failed(call: _Call, before: Mapping[str, set[str]]) -> None:
    try:
        for service, status, log in call.logs(before):
            if status == "Failed":
                raise OperationError(
                    "A component failed.",
                    detail=f"{service.component} failed on {service.host.name}. The end of its log:\n{_tail(log)}",
                    resolution="Mend the component, apply again, and repeat.",
                )
    except (OscarUnreachableError, OscarRefusedError):
        return


def _busy(call: _Call, before: Mapping[str, set[str]]) -> bool:
    """Whether a job at the end of the pipeline is still under way; one that names another call does not count."""
    for place, service in call.sinks.items():
        for job, status in _jobs(service).items():
            if job not in before.get(place, set()) and status not in _ENDED:
                try:
                    log = service.host.client.read_log(service.name, job)
                except (OscarUnreachableError, OscarRefusedError):
                    return False
                if call.token in log:
                    return True
    return False


def _told(call: _Call, before: Mapping[str, set[str]]) -> str:
    """What the services' logs say of this call, for the message of a failure."""
    try:
        parts = [f"{s.component} on {s.host.name} ({status}):\n{_tail(log)}" for s, status, log in call.logs(before)]
    except (OscarUnreachableError, OscarRefusedError) as error:
        return f"The logs cannot be read: {error.detail}"
    return "\n".join(parts) or "No service says that it saw the file."


def _jobs(service: Service) -> dict[str, str]:
    try:
        jobs = service.host.client.read_jobs(service.name)
    except (OscarUnreachableError, OscarRefusedError):
        return {}
    return {name: str(job.get("status", "")) for name, job in jobs.items()}


def _results(service: Service, store: ObjectStore, token: str, *, is_alone: bool) -> list[str]:
    """Keys of what came out, under its name or marked as handed over; none of a store that has gone meanwhile."""
    bucket, folder = _split(service.output_path)
    try:
        return sorted(key for mark in ("", MARK) for key in store.list(bucket, f"{folder}{mark}{token}"))
    except ObjectStoreError:
        if is_alone:
            raise
        return []


def _bring(call: _Call, found: Mapping[str, Sequence[str]], out: Path) -> list[Path]:
    places = [(name, key) for name, keys in found.items() for key in keys]
    names = [(call.sinks[name].component, key.rsplit("/", 1)[-1].replace(call.token, "", 1)) for name, key in places]
    targets = _destinations(names, out)
    for (name, key), target in zip(places, targets, strict=True):
        content = call.stores[name].get(_split(call.sinks[name].output_path)[0], key)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return targets


def _destinations(names: Sequence[tuple[str, str]], out: Path) -> list[Path]:
    """Where each result goes.

    One result goes to the file that was named. Several that differ in their suffix go beside each other under that name
    (``-o result.png`` gives ``result.png`` and ``result.json``); others need a folder.

    Args:
        names: Component and file name of each result.
        out: What the user named.
    """
    suffixes = [Path(name).suffix for _, name in names]
    if not out.is_dir() and (len(names) == 1 or (out.suffix and len(set(suffixes)) == len(names))):
        return [out] if len(names) == 1 else [out.with_suffix(suffix) for suffix in suffixes]
    if out.is_file():
        raise UsageError(
            "The results need a folder.", detail=f"There are {len(names)} results, and {out} is a file. Name a folder."
        )
    plain = [name for _, name in names]
    return [
        out / (name if plain.count(name) == 1 and name else f"{component}-{name or 'result'}")
        for component, name in names
    ]


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise UsageError("There is no such file.", detail=f"{file} is not there, or is no file.")
    if file.stat().st_size > _LARGEST_FILE:
        raise UsageError("The file is too large.", detail=f"{file} has more than {_LARGEST_FILE // 1024**2} MiB.")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError("The file cannot be read.", detail=str(error)) from error


def _record_of(state: State, component: str) -> InstanceRecord:
    services = {_component(r): r for r in _services(state)}
    if component in services:
        return services[component]
    names = ", ".join(sorted(services)) or "none"
    raise UsageError(
        "There is no such component.",
        detail=f"{state.deployment} has no service of a component {component!r}; has: {names}.",
    )


def _component(record: InstanceRecord) -> str:
    return str(record.inputs.get("properties.component", record.node))


def _services(state: State) -> list[InstanceRecord]:
    """Services at work: a new one from the moment it answers, until then what it takes the place of."""
    return [r for r in services_at_work(state.instances).values() if "properties.service" in r.inputs]


def _downstream(start: InstanceRecord, state: State) -> list[InstanceRecord]:
    """The service and all that take its results, directly or not, nearest first."""
    found = {start.address: start}
    waiting = [start]
    while waiting:
        for record in sends_to(waiting.pop(0), state.instances):
            if record.address not in found and "inputs" in record.attributes:
                found[record.address] = record
                waiting.append(record)
    return list(found.values())


def _targets(record: InstanceRecord, requirement: str) -> list[str]:
    targets = record.inputs.get(f"requirements.{requirement}")
    return [str(t) for t in targets] if isinstance(targets, list) else []


def _service(record: InstanceRecord, state: State, secrets: SecretStore) -> Service:
    hosts = [state.instances[a] for a in _targets(record, "host") if a in state.instances]
    if not hosts:
        raise OperationError(
            "A service has no OSCAR.",
            detail=f"{record.address} is recorded, and what it runs on is not.",
            resolution="Apply again.",
        )
    return Service(
        name=str(record.inputs["properties.service"]),
        component=str(record.inputs.get("properties.component", record.node)),
        record=record,
        host=OscarHost.of(hosts[0], secrets),
        input_path=str(record.inputs.get("properties.input_path", "")),
        output_path=str(record.inputs.get("properties.output_path", "")),
    )


def _open(host: OscarHost) -> AbstractContextManager[ObjectStore]:
    return open_store(host.store_endpoint, host.access_key, host.secret_key, ca_cert=host.client.ca_cert)


def _split(path: str) -> tuple[str, str]:
    """Bucket, and folder with a slash at its end (or empty)."""
    bucket, _, folder = path.strip("/").partition("/")
    return bucket, f"{folder}/" if folder else ""


def _safe_name(file: Path) -> str:
    """The file's name without what scripts stumble over, cut to a length that every file system takes."""
    stem = re.sub(r"[^\w.-]+", "_", file.stem)[:120]
    return f"{stem}{re.sub(r'[^A-Za-z0-9.]+', '', file.suffix)[:20]}"


def _tail(log: str) -> str:
    return "\n".join(f"  {line}" for line in log.strip().splitlines()[-_LOG_LINES:])
