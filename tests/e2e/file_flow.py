"""A client that puts a file in every second, and one that gathers what comes out; both know the manifest alone."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Self

from orchestrator.clients.object_store import ObjectStore, ObjectStoreError
from orchestrator.errors import DeployError
from orchestrator.executors.oscar_host import OscarHost, split_path
from orchestrator.executors.oscar_shared import MARK
from orchestrator.manifest.model import ManifestStorePath
from orchestrator.services.deployment import open_for_reading
from orchestrator.services.manifest import read_manifest

Seen = tuple[str, str, str]
"""Store, bucket with key, and the moment at which the object was put there: a second run of a file shows as another."""


class Stores:
    """The stores that a manifest names, opened once each; the passwords come from the deployment."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self._stack = ExitStack()
        self._open: dict[str, ObjectStore] = {}

    def ends(self) -> tuple[tuple[ManifestStorePath, ...], tuple[ManifestStorePath, ...]]:
        """Where files go in and where they come out, as the state says at this moment."""
        opened = open_for_reading(self.deployment)
        manifest = read_manifest(opened)
        state = opened.state
        assert state is not None
        for record in state.instances.values():
            endpoint = record.attributes.get("store_endpoint")
            if isinstance(endpoint, str) and endpoint not in self._open:
                host = OscarHost.of(record, opened.secrets)
                self._open[endpoint] = self._stack.enter_context(host.open_store())
        return manifest.inputs, manifest.outputs

    def at(self, place: ManifestStorePath) -> ObjectStore:
        return self._open[place.store]

    def close(self) -> None:
        self._stack.close()


@dataclass
class Flow:
    """Files on their way: what was put in, when, and what came out where; their names begin with ``prefix``.

    Each has to come out of every one of the ``ends``, which are told apart by the component that they begin with.
    """

    deployment: str
    prefix: str = "file"
    ends: tuple[str, ...] = ("",)
    put: dict[str, float] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)
    out: dict[str, set[Seen]] = field(default_factory=lambda: defaultdict(set))
    first_out: dict[str, float] = field(default_factory=dict)
    problems: list[BaseException] = field(default_factory=list)
    _stop_putting: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _places: dict[ManifestStorePath, None] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for work in (self._feed, self._gather):
            self._threads.append(threading.Thread(target=self._guarded, args=(work,), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_putting.set()
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def finish(self, patience: float = 120.0) -> None:
        """Put no more, and wait until all that was put has come out, or time is up."""
        self._stop_putting.set()
        self._threads[0].join(60)
        deadline = time.monotonic() + patience
        while self.missing() and time.monotonic() < deadline and not self.problems:
            time.sleep(0.5)
        time.sleep(3)  # what comes out twice may come a little later

    def missing(self) -> list[str]:
        """What went in and has not come out of every end, marked or not."""
        out = [{name.removeprefix(MARK) for name in self._out_of(end)} for end in self.ends]
        return sorted(name for name in tuple(self.put) if not all(name in names for names in out))

    def doubled(self) -> dict[str, set[Seen]]:
        """What came out of one end more than once under the name that it went in with."""
        return {f"{end}{name}": seen for end in self.ends for name, seen in self._out_of(end).items() if len(seen) > 1}

    def _out_of(self, end: str) -> dict[str, set[Seen]]:
        found = {name: {s for s in tuple(seen) if s[1].startswith(end)} for name, seen in tuple(self.out.items())}
        return {name: seen for name, seen in found.items() if seen}

    def marked(self) -> list[str]:
        return sorted(name for name in self.out if name.startswith(MARK))

    def longest_gap(self) -> float:
        """Seconds between two results, at most."""
        moments = sorted(self.first_out.values())
        return max((b - a for a, b in pairwise(moments)), default=0.0)

    def _guarded(self, work: object) -> None:
        stores = Stores(self.deployment)
        try:
            work(stores)  # type: ignore[operator]
        except BaseException as problem:  # noqa: BLE001 - shown by the test, which runs in another thread
            self.problems.append(problem)
        finally:
            stores.close()

    def _feed(self, stores: Stores) -> None:
        number = 0
        while not self._stop_putting.wait(1.0):
            name = f"{self.prefix}-{number:05}.txt"
            number += 1
            while not self._put(stores, name):
                self.retried.append(name)
                time.sleep(0.3)
            self.put[name] = time.monotonic()

    @staticmethod
    def _put(stores: Stores, name: str) -> bool:
        places, _ = stores.ends()
        assert len(places) == 1, f"the manifest names {places} as where files go in"
        bucket, folder = split_path(places[0].path)
        try:
            stores.at(places[0]).put(bucket, f"{folder}{name}", name.encode())
        except ObjectStoreError:
            return False
        return True

    def _gather(self, stores: Stores) -> None:
        while not self._stop.wait(0.5):
            for place in stores.ends()[1]:
                self._places[place] = None
            for place in self._places:
                bucket, folder = split_path(place.path)
                try:
                    found = stores.at(place).list_objects(bucket, folder)
                except DeployError:
                    continue  # a store that has gone with its machines
                for key, seen in found.items():
                    self._note(key.removeprefix(folder), (place.store, f"{bucket}/{key}", _text(seen.modified)))

    def _note(self, name: str, seen: Seen) -> None:
        if name.removeprefix(MARK).startswith(f"{self.prefix}-"):
            self.first_out.setdefault(name, time.monotonic())
            self.out[name].add(seen)


def _text(moment: datetime) -> str:
    return moment.isoformat()
