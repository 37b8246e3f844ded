"""Retires a service of OSCAR: what it began is finished, what it left goes to its heir, then its place is taken away.

What is done here with a file, and what is promised, is in ``docs/reconfiguration.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clients.oscar import OscarRefusedError, OscarUnreachableError
from orchestrator.executors.base import OperationRequest
from orchestrator.executors.oscar_drain import Sorted, read_jobs, sort_inputs, unfinished, wait_until_ended
from orchestrator.executors.oscar_host import OscarHost, input_paths, split_path
from orchestrator.executors.oscar_shared import MARK, Place, is_shared, is_there, marked, wait_for_senders
from orchestrator.planning.heirs import heirs_of
from orchestrator.planning.records import CONNECTS_TO, HOST, properties_of, targets_of
from orchestrator.topology.model import Value

if TYPE_CHECKING:
    from orchestrator.clients.object_store import ObjectStore, StoredObject

FORMER = "-former"
"""Ends the name of the bucket in which inputs that are done are kept where their place is taken away."""

KEPT = "kept"
_SWEEPS = 20
_QUIET = 2.0
_LOOKS = 3
_PATH = "output_path"


class Retirement:
    """One service that goes, and what takes over from it.

    Args:
        request: The operation; its instance is the service that goes.
        host: The OSCAR that it is registered at.
        patience: Seconds to wait for what is under way.
    """

    def __init__(self, request: OperationRequest, host: OscarHost, patience: float) -> None:
        self.request = request
        self.host = host
        self.patience = patience
        self.name = str(request.instance.properties["service"])
        self.heirs = heirs_of(request.record, request.known, request.desired)
        self.stays = host.address in request.desired

    def run(self) -> bool:
        """Do it; False if there was nothing to do any longer."""
        if not self._answers():
            return False
        self._wait_for_senders()
        service = self.host.client.read_service(self.name)
        if service is not None:
            self._stop_listening(service)
        with ExitStack() as stack:
            own = stack.enter_context(self.host.open_store())
            places = {
                Place.at(own, path, shared=is_shared(self.request, self.host, path, [self.name])): [
                    Place.at(stack.enter_context(host.open_store()), target, shared=shared, reader=(host.client, name))
                    for host, target, name, shared in self._heir_paths(path)
                ]
                for path in input_paths(self.request.instance.properties)
            }
            for place, heirs in places.items():
                (self._copy if place.shared else self._settle)(place, heirs, registered=service is not None)
            if not self.stays and not targets_of(self.request.record, CONNECTS_TO):
                self._save_results(own, stack)
            deregister(self.host, self.name)
            for place, heirs in places.items():
                if heirs and not place.shared:
                    self._take_away(place, heirs)
        return True

    def _answers(self) -> bool:
        """Whether its OSCAR answers; one that is to go and is away already takes its files with it."""
        reason = ""
        for _look in range(_LOOKS):
            try:
                self.host.client.check_health()
                return True
            except (OscarUnreachableError, OscarRefusedError) as error:
                if self.stays:
                    raise
                reason = error.detail
                self.request.cancel.wait(_QUIET)
        self.request.progress(
            f"{self.host.name} does not answer and goes: what lay there cannot be handed over ({reason})"
        )
        return False

    def _wait_for_senders(self) -> bool:
        return wait_for_senders(self.request, input_paths(self.request.instance.properties), self.patience)

    def _stop_listening(self, service: Mapping[str, Value]) -> None:
        """From here on nothing new is taken; what was taken is finished."""
        self.host.client.replace_service({**service, "input": []})
        self._wait(lambda: unfinished(self.host.client, self.name), self.name)

    def _wait(self, look: Callable[[], Collection[str]], what: str) -> bool:
        return wait_until_ended(look, what, self.patience, self.request.cancel, self.request.progress)

    def _heir_paths(self, path: str) -> list[tuple[OscarHost, str, str, bool]]:
        """Store, path and name of every heir, and whether others read there as well; never the place itself."""
        found = []
        for address in self.heirs:
            instance, known = self.request.desired[address], self.request.known
            hosts = [known[a] for a in instance.requirements.get(HOST, ()) if a in known]
            if not hosts:
                continue
            paths = input_paths(instance.properties)
            target = path if path in paths else paths[0]
            if (hosts[0].address, target) != (self.host.address, path):
                host, name = OscarHost.of(hosts[0], self.request.secrets), str(instance.properties["service"])
                found.append((host, target, name, is_shared(self.request, host, target, [name])))
        return found

    def _sort(self, place: Place, found: Mapping[str, StoredObject], *, registered: bool) -> Sorted:
        if registered:
            return sort_inputs(place.bucket, found, read_jobs(self.host.client, self.name))
        # An earlier attempt was cut off between taking the service away and its place.
        return Sorted(unclear=tuple(found))

    def _settle(self, place: Place, heirs: list[Place], *, registered: bool) -> None:
        """Hand over what was not taken, marked what cannot be told; keep the rest."""
        inputs = self._sort(place, place.store.list_objects(place.bucket, place.folder), registered=registered)
        if heirs:
            self._hand_over(place, heirs, inputs.untouched, "")
            self._hand_over(place, heirs, inputs.unclear, MARK)
            self._keep_done(place, inputs.done)
        elif not self.heirs:
            self._keep_left(place, (*inputs.untouched, *inputs.unclear))

    def _copy(self, place: Place, heirs: list[Place], *, registered: bool) -> None:
        """Others read this too: copy what was not taken, and let everything lie.

        What comes while this looks the first time is found the second time.
        """
        seen: dict[str, StoredObject] = {}
        for look in range(2):
            if look:
                self.request.cancel.wait(_QUIET)
            objects = place.store.list_objects(place.bucket, place.folder)
            found = {key: there for key, there in objects.items() if seen.get(key) != there}
            seen |= found
            # What is sent to the heir's store as well has come there by then.
            all_sent = self._wait_for_senders()
            inputs = self._sort(place, found, registered=registered)
            if heirs:
                self._hand_over(place, heirs, inputs.untouched, "" if all_sent else MARK)
                self._hand_over(place, heirs, inputs.unclear, MARK)
            elif not self.heirs:
                self._keep_left(place, (*inputs.untouched, *inputs.unclear))
        self.request.progress(f"{place.bucket}/{place.folder} stays as it is on {self.host.name}: others read it")

    def _hand_over(self, place: Place, heirs: Iterable[Place], keys: Collection[str], mark: str) -> None:
        """Copy to every heir, then remove: a crash in between leaves a copy, which is found and not made again.

        What others read as well is not removed, and may have been sent to both places.
        """
        numbers = Counter[bool]()
        taken = [(heir, heir.read_jobs() if keys else {}) for heir in heirs]
        for key in keys:
            content, etag = place.store.get(place.bucket, key), place.store.list(place.bucket, key).get(key)
            name = key.removeprefix(place.folder)
            for heir, jobs in taken:
                if (place.shared or heir.shared) and is_there(place, heir, name, jobs):
                    continue
                doubtful = bool(mark) or heir.shared or (place.shared and heir.find(name)[1] is not None)
                target, there = heir.find(marked(name) if doubtful else name)
                if there is None or there.etag != etag:
                    heir.store.put(heir.bucket, target, content)
                numbers[doubtful] += 1
            if not place.shared:
                place.store.delete(place.bucket, key)
        for doubtful, number in numbers.items():
            how = f", marked {MARK}* since they may have been worked on" if doubtful else ""
            self.request.progress(f"handed over {number} of the files left in {place.bucket}/{place.folder}{how}")

    def _save_results(self, own: ObjectStore, stack: ExitStack) -> None:
        """Results on a store that goes: to where the heir's results are, under the names that they have, else here."""
        path = str(self.request.instance.properties[_PATH])
        place = Place.at(own, path)
        targets = []
        for address in self.heirs:
            instance = self.request.desired[address]
            hosts = [self.request.known[a] for a in instance.requirements.get(HOST, ()) if a in self.request.known]
            if hosts and not instance.requirements.get(CONNECTS_TO):
                store = stack.enter_context(OscarHost.of(hosts[0], self.request.secrets).open_store())
                targets.append(Place.at(store, str(instance.properties[_PATH])))
        found = tuple(own.list(place.bucket, place.folder))
        if targets:
            self._hand_over(place, targets, found, "")
            return
        folder = self.request.folders.deployment / KEPT / self.name
        for key in found:
            save(folder, key, own.get(place.bucket, key))
        if found:
            self.request.progress(f"{len(found)} results were saved in {folder}")

    def _keep_done(self, place: Place, keys: Iterable[str]) -> None:
        """Put inputs that are done aside in the same store, so that their bucket can go."""
        bucket = f"{place.bucket}{FORMER}"
        for number, key in enumerate(keys):
            if not number:
                place.store.make_bucket(bucket)
                self.request.progress(f"keeping the inputs that are done in {bucket}")
            place.store.put(bucket, key, place.store.get(place.bucket, key))
            place.store.delete(place.bucket, key)

    def _keep_left(self, place: Place, keys: tuple[str, ...]) -> None:
        """Nobody takes over: what was not worked on stays where it is, or is saved here if its machines go."""
        if not keys:
            return
        if self.stays:
            self.request.progress(f"{len(keys)} files that nobody worked on stay in {place.bucket}/{place.folder}")
            return
        folder = self.request.folders.deployment / KEPT / self.name
        for key in keys:
            save(folder, key, place.store.get(place.bucket, key))
        self.request.progress(f"{len(keys)} files that nobody worked on were saved in {folder}")

    def _take_away(self, place: Place, heirs: list[Place]) -> None:
        """Remove the bucket, so that putting there fails; hand over what comes until then, which nobody took."""
        shared = self._is_shared(place)
        for sweep in range(_SWEEPS):
            late = tuple(place.store.list(place.bucket, place.folder))
            self._hand_over(place, heirs, late, "")
            if not shared and place.store.remove_bucket(place.bucket):
                return
            if shared and sweep and not late:
                break
            if shared:
                self.request.cancel.wait(_QUIET)
            shared = shared or self._has_others(place)
        self.request.progress(f"the bucket {place.bucket} stays on {self.host.name}, since others use it")

    def _is_shared(self, place: Place) -> bool:
        """Whether another service on this store uses the bucket, or somebody's results lie in it."""
        paths = []
        for record in self.request.known.values():
            if record.address == self.request.record.address or self.host.address not in targets_of(record, HOST):
                continue
            properties = properties_of(record)
            if "input_path" in properties:
                paths += input_paths(properties)
                paths += [] if targets_of(record, CONNECTS_TO) else [str(properties.get(_PATH, ""))]
        return any(split_path(path)[0] == place.bucket for path in paths) or self._has_others(place)

    @staticmethod
    def _has_others(place: Place) -> bool:
        return any(not key.startswith(place.folder) for key in place.store.list(place.bucket))


def deregister(host: OscarHost, name: str) -> bool:
    """Remove a service and leave its buckets to us: OSCAR would empty them, whoever else uses them.

    Returns:
        False if it was gone already.
    """
    service = host.client.read_service(name)
    if service is None:
        return False
    if service.get("input") or service.get("output"):
        host.client.replace_service({**service, "input": [], "output": []})
    return host.client.delete_service(name)


def save(folder: Path, key: str, content: bytes) -> None:
    """Write a file below a folder that only its owner may read; a key never leads out of it."""
    parts = [part for part in key.split("/") if part not in ("", ".", "..")]
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.touch(mode=0o600)
    target.write_bytes(content)
