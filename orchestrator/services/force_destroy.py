"""Takes a deployment down whatever stands in the way, and says what could not be removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.engine.apply import INTERRUPTED, Outcome, apply_plan, failure_of
from orchestrator.engine.hooks import Hook
from orchestrator.engine.operations import RunContext
from orchestrator.engine.retries import RetryPolicy
from orchestrator.errors import DeployError, OperationError, StateError
from orchestrator.executors.base import Executor, OperationRequest, OperationResult
from orchestrator.executors.places import provider_with
from orchestrator.executors.registry import ExecutorRegistry
from orchestrator.planning.actions import Action
from orchestrator.planning.observation import Observation
from orchestrator.planning.plan import Change, Plan
from orchestrator.planning.planner import plan_destroy
from orchestrator.planning.records import HOST, MACHINE, instance_of_record, targets_of
from orchestrator.providers.base import DeploymentTag, MachineProvider, Resource
from orchestrator.providers.registry import PROVIDERS, is_cloud, is_provider, load_provider
from orchestrator.services.deployment import OpenDeployment, open_for_reading
from orchestrator.services.destroy import drop
from orchestrator.services.provider_names import providers_of
from orchestrator.state.backend import lock_of, open_backend
from orchestrator.state.folders import state_folder
from orchestrator.state.former import present_address
from orchestrator.state.local_backend import LocalBackend
from orchestrator.state.model import InstanceRecord, State
from orchestrator.state.remote_reading import RemoteDamageError
from orchestrator.state.remote_store import RemoteStateStore
from orchestrator.state.salvage import begin_anew, make_aside, salvage, set_aside

_IDENTIFIERS = ("machine_id", "service_url", "reference", "kubeconfig", "endpoint", "host")
"""Attributes by which a person finds something, the best first."""

_PATIENCE = RetryPolicy(attempts=3, longest_pause=5.0, total=60.0)
_OPENINGS = (1.0, 2.0)
"""Seconds before a provider that does not answer is asked again."""


@dataclass(frozen=True, slots=True)
class Left:
    """Something that could not be removed.

    Attributes:
        address: Its node instance; empty if the state does not know it.
        what: Kind and identifier, for a person who removes it by hand.
        reason: Why it is left.
    """

    address: str
    what: str
    reason: str

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.address or '(not in the state)'}: {self.what}: {self.reason}"


class RemainsError(DeployError):
    """A forced destroy could not remove everything."""

    def __init__(self, left: Sequence[Left], *, forgotten: bool, removed: int) -> None:
        kept = "The state is dropped all the same" if forgotten else "The state keeps what it knows of these"
        super().__init__(
            "Not everything could be removed.",
            detail=f"{removed} instances were removed; left "
            + ("are:\n" + "\n".join(map(str, left)) if left else "is the state; no provider lists anything."),
            resolution=f"{kept}. Remove them by hand, or mend what stands in the way and run `deploy destroy --force` "
            "again" + ("." if forgotten else "; `--forget` drops the state without them."),
        )
        self.left = tuple(left)


@dataclass(frozen=True, slots=True)
class Forced:
    """What a forced destroy did.

    Attributes:
        removed: How many instances the state holds no longer.
        left: What could not be removed.
        searched: Providers that were asked for leftovers by tag.
        forgotten: Whether the state was dropped although something is left.
    """

    removed: int
    left: tuple[Left, ...] = ()
    searched: tuple[str, ...] = ()
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Rescue:
    """What was done so that the state can be read again, or why it could not be.

    Attributes:
        told: What happened, in full sentences.
        found: What providers list under the deployment's name, if nothing can be removed for certain.
        is_readable: Whether the deployment can be opened now.
    """

    told: str
    found: tuple[Left, ...] = ()
    is_readable: bool = True


def make_readable(name: str, command: str) -> Rescue | None:
    """If the state cannot be read, put it aside and begin one with all that could be salvaged of it.

    Args:
        name: The deployment.
        command: What is being done, shown to whoever is refused meanwhile.

    Returns:
        ``None`` if the state is as it should be.

    Raises:
        LockedError: If somebody works on it.
        StateError: If the folder cannot be written.
    """
    try:
        open_for_reading(name)
    except StateError as damage:
        folder = _state_files(name)
        if folder is None:
            return _make_readable_remotely(name, command, damage)
        with lock_of(name, open_backend()).acquire(command):
            salvaged = salvage(folder)
            if not salvaged.lineage:
                return Rescue(f"{damage.detail} Its lineage cannot be read either.", _by_name(name), is_readable=False)
            aside = set_aside(folder)
            begin_anew(folder, name, salvaged)
        return Rescue(
            f"{damage.detail} What could be read of it ({len(salvaged.records)} instances) is taken for the state; the "
            f"damaged files are kept in {aside}."
        )
    return None


def _make_readable_remotely(name: str, command: str, damage: StateError) -> Rescue:
    """The same for a state in a bucket or a database; one that cannot be reached is not taken for damaged."""
    store = open_backend().state_store(name)
    if not isinstance(damage, RemoteDamageError) or not isinstance(store, RemoteStateStore):
        raise damage
    with lock_of(name, open_backend()).acquire(command):
        aside = make_aside(state_folder(name))
        serial = store.copy_files(aside)
        salvaged = salvage(aside)
        if not salvaged.lineage:
            return Rescue(f"{damage.detail} Its lineage cannot be read either.", _by_name(name), is_readable=False)
        store.install(State(name, salvaged.lineage, serial + 1, instances=salvaged.records))
    return Rescue(
        f"{damage.detail} What could be read of it ({len(salvaged.records)} instances) is taken for the state; a copy "
        f"of what was there is kept in {aside}."
    )


def put_aside(name: str, command: str) -> Path:
    """Move a state that cannot be read out of the way; gives the place where its files are kept.

    Raises:
        LockedError: If somebody works on it.
        StateError: If the folder cannot be written.
    """
    folder = _state_files(name)
    if folder is None:
        raise StateError(
            "The state cannot be put aside.",
            detail=f"It is not kept in files but at {open_backend().place}.",
            resolution="Remove it there, or put a copy in its place with `deploy state push`.",
        )
    with lock_of(name, open_backend()).acquire(command):
        return set_aside(folder)


def _state_files(name: str) -> Path | None:
    """The folder with the state's files; ``None`` if it is kept elsewhere."""
    backend = open_backend()
    return state_folder(name, Path(backend.place)) if isinstance(backend, LocalBackend) else None


def plan_by_force(state: State) -> Plan:
    """What a forced destroy tries to remove."""
    return Plan(state.deployment, state.lineage, state.serial, state.profile, _changes(state, {}))


def _by_name(name: str) -> tuple[Left, ...]:
    """What carries the name; another deployment may have the same one, so nobody but a person can tell.

    Nothing says any longer at which places of which clouds it was: there `deploy sweep` looks.
    """
    found: list[Left] = []
    for provider_name in sorted(name for name in PROVIDERS if not is_cloud(name)):
        reason = f"it carries the name {name}, and without the lineage it is not certain that it is this deployment's"
        try:
            listed = load_provider(provider_name).leftovers(DeploymentTag(name, ""))
        except DeployError as cause:
            found.append(Left("", f"provider {provider_name}", _words(cause)))
            continue
        found += [Left(r.address, f"{r.kind} {r.name} ({r.id})", reason) for r in listed]
    return tuple(found)


def destroy_by_force(
    opened: OpenDeployment,
    hook: Hook,
    parallelism: int,
    *,
    forget: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Forced:
    """Remove everything that can be removed; nothing that fails keeps the rest from being removed.

    First in order, then whatever waited in vain, then by tag. What was hosted only on machines that are gone is gone.

    Args:
        opened: The deployment, locked, with a state.
        hook: Listener for progress.
        parallelism: Bound on changes at the same time.
        forget: Drop the state even if something is left.
        pause: Waits so many seconds.

    Raises:
        CancelledError: If the operator stopped it.
    """
    before = opened.session.state
    forced = _Force(opened, before, hook, parallelism)
    forced.remove_all()
    providers = providers_of(before)
    forced.sweep(providers, pause)
    forced.let_go_of_what_went_along()
    left = forced.left()
    removed = len(before.instances) - len(opened.session.state.instances)
    if left and not forget:
        opened.session.snapshot()
        return Forced(removed, left, providers)
    drop(opened, providers)
    return Forced(removed, left, providers, forgotten=bool(left))


class _Force:
    def __init__(self, opened: OpenDeployment, before: State, hook: Hook, parallelism: int) -> None:
        self._opened = opened
        self._session = opened.session
        self._before = before
        self._hook = hook
        self._parallelism = parallelism
        self._reasons: dict[str, str] = {}
        self._swept: set[str] = set()
        self._listed: list[Left] = []
        context = opened.context({}, before.application_root)
        self._context: RunContext = replace(context, executors=_UnflinchingExecutors())

    def remove_all(self) -> None:
        """In order; then, one by one, what would wait for ever for something that failed."""
        changes = _changes(self._before, self._reasons)
        outcome = self._walk(changes)
        waiting = {a: replace(changes[a], after=()) for a in outcome.skipped}
        if waiting:
            self._walk(waiting)

    def _walk(self, changes: Mapping[str, Change]) -> Outcome:
        state = self._session.state
        plan = Plan(state.deployment, state.lineage, state.serial, state.profile, changes)
        hook = self._opened.noting(plan, self._hook)
        try:
            outcome = apply_plan(plan, self._context, self._session, hook, self._parallelism, retries=_PATIENCE)
        finally:
            self._session.snapshot()
        if self._opened.cancel.is_set() and INTERRUPTED in outcome.skipped.values():
            raise failure_of(Outcome(outcome.done, {}, outcome.skipped), cancelled=True) or AssertionError
        self._reasons.update({address: _words(cause) for address, cause in outcome.failed.items()})
        return outcome

    def sweep(self, providers: Iterable[str], pause: Callable[[float], None]) -> None:
        """Remove by tag what the state may not know, and list what carries the tag still."""
        for name in providers:
            try:
                provider = self._provider(name)
                _open(provider, pause)
                self._listed += _sweep(provider, self._context.tag)
                self._swept.add(name)
            except DeployError as cause:
                self._listed.append(Left("", f"whatever carries the tag at provider {name}", _words(cause)))

    def _provider(self, name: str) -> MachineProvider:
        records, lineage = self._before.instances.values(), self._context.tag.lineage
        return provider_with(name, records, lineage, self._opened.secrets, self._opened.folder)

    def let_go_of_what_went_along(self) -> None:
        """Drop records of machines that no provider lists, and of what was hosted only on machines that are gone."""
        listed = {entry.address for entry in self._listed}
        for address, record in self._session.state.instances.items():
            if record.provider in self._swept and present_address(address) not in listed:
                self._session.remove(address)
        for address in list(self._session.state.instances):
            machines = _machines_under(address, self._before.instances)
            if machines and all(
                self._before.instances[m].provider and m not in self._session.state.instances for m in machines
            ):
                self._session.remove(address)

    def left(self) -> tuple[Left, ...]:
        """What the state still holds and what providers still list, with what a person needs to remove it."""
        listed = {entry.address for entry in self._listed}
        recorded = [
            Left(address, identifier_of(record), self._reasons.get(address, self._why_not(record)))
            for address, record in self._session.state.instances.items()
            if present_address(address) not in listed
        ]
        return (*recorded, *self._listed)

    @staticmethod
    def _why_not(record: InstanceRecord) -> str:
        if record.provider and not is_provider(record.provider):
            return f"this version has no provider {record.provider}"
        return "what it needs for that is gone"


def _changes(state: State, reasons: dict[str, str]) -> dict[str, Change]:
    """The removals; of records that make no sense as a whole, those that can be tried by themselves."""
    try:
        return dict(plan_destroy(state).changes)
    except Exception:  # noqa: BLE001 - whatever a damaged record brings about must not keep the others alive
        found: dict[str, Change] = {}
        for address, record in state.instances.items():
            try:
                instance = instance_of_record(record)
            except Exception as cause:  # noqa: BLE001 - the same
                reasons[address] = f"its record is damaged ({cause!r})"
                continue
            found[address] = Change(address, record.type, Action.DELETE, ("destroy",), instance)
        return found


def _open(provider: MachineProvider, pause: Callable[[float], None]) -> None:
    for seconds in _OPENINGS:
        try:
            provider.open()
        except DeployError:
            pause(seconds)
        else:
            return
    provider.open()


def _sweep(provider: MachineProvider, tag: DeploymentTag) -> list[Left]:
    refused: dict[str, str] = {}
    for machine in provider.find(tag):
        try:
            provider.delete(machine.id)
        except DeployError as cause:
            refused[machine.id] = _words(cause)
    trouble = "it is still listed"
    try:
        provider.release(tag)
    except DeployError as cause:
        trouble = _words(cause)
    return [_left(resource, refused.get(resource.id, trouble)) for resource in provider.leftovers(tag)]


def _left(resource: Resource, reason: str) -> Left:
    return Left(resource.address, f"{resource.kind} {resource.name} ({resource.id})", reason)


def _machines_under(address: str, records: Mapping[str, InstanceRecord]) -> set[str]:
    """Addresses of the machines that something is hosted on, directly or not."""
    found: set[str] = set()
    seen: set[str] = set()
    pending = [address]
    while pending:
        record = records.get(pending.pop())
        if record is None or record.address in seen:
            continue
        seen.add(record.address)
        machines = targets_of(record, MACHINE)
        found.update(m for m in machines if m in records)
        pending += targets_of(record, HOST)
    return found


def identifier_of(record: InstanceRecord) -> str:
    """Type and the identifiers that a person can use."""
    known = [f"{name} {value}" for name in _IDENTIFIERS if (value := record.attributes.get(name))]
    return f"{record.type.rpartition('.')[2]}: " + (", ".join(known[:2]) or "nothing is known of it")


def _words(cause: DeployError) -> str:
    return f"{cause.summary} {cause.detail}".strip()


class _UnflinchingExecutors(ExecutorRegistry):
    """Executors whose every failure is one of the operation, so that the walk goes on with the others."""

    def get(self, artifact_type: str) -> Executor:
        """See the registry."""
        return _Unflinching(super().get(artifact_type))


class _Unflinching:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.max_parallel = int(getattr(executor, "max_parallel", 0))

    def run(self, request: OperationRequest) -> OperationResult:
        """Run it; a fault that a damaged record brings about is a failure like any other."""
        try:
            return self._executor.run(request)
        except DeployError:
            raise
        except Exception as cause:
            raise OperationError(
                "A record is damaged.",
                detail=f"{request.record.address}: {request.operation} failed with {cause!r}.",
                resolution="Remove by hand what it stands for.",
            ) from cause

    def observe(self, request: OperationRequest) -> Observation:
        """Nothing is looked at here."""
        return self._executor.observe(request)
