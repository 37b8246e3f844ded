"""The back-end in a bucket of S3 or of a store that speaks its language."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.errors import LockedError, StateError
from orchestrator.state.backend import BackendUrl
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.document_store import StoredDocument
from orchestrator.state.folders import is_deployment_name
from orchestrator.state.lock import LockHolder, is_gone
from orchestrator.state.remote_storage import Index
from orchestrator.state.remote_store import RemoteStateStore
from orchestrator.state.s3_objects import Encryption, S3Objects, open_objects
from orchestrator.state.shared_lock import held_elsewhere

_SNAPSHOTS, _JOURNAL = "snapshots/", "journal/"
_REMOVED = "removed"
_LOCK = "lock.json"
_SECRETS = "secrets.json"
_OPTIONS = ("region", "encryption", "kms_key")
_ENCRYPTIONS = {"": "", "AES256": "AES256", "aws:kms": "aws:kms", "kms": "aws:kms"}


class S3Backend:
    """States in a bucket.

    Args:
        url: ``s3://bucket/prefix``, with the options ``region``, ``encryption`` (``AES256`` or ``aws:kms``) and
            ``kms_key``.
        objects: Opens the bucket's objects under a prefix.
    """

    def __init__(self, url: BackendUrl, objects: Callable[..., S3Objects] = open_objects) -> None:
        url.check_options(_OPTIONS)
        if not url.host:
            raise url.refused("It names no bucket.")
        if url.user or url.port:
            raise url.refused("It names a user or a port. Keys and endpoint come from AWS's own settings.")
        method = url.options.get("encryption", "aws:kms" if url.options.get("kms_key") else "")
        if method not in _ENCRYPTIONS:
            raise url.refused(f"The encryption {method!r} is not known; it is AES256 or aws:kms.")
        prefix = url.path.strip("/")
        self._objects = objects(
            url.host,
            f"{prefix}/" if prefix else "",
            region=url.options.get("region", ""),
            encryption=Encryption(_ENCRYPTIONS[method], url.options.get("kms_key", "")),
        )

    @property
    def place(self) -> str:
        """Bucket and prefix."""
        return self._objects.name_of("").rstrip("/")

    def deployments(self) -> tuple[str, ...]:
        """Names of all deployments that have a state, in order."""
        found: set[str] = set()
        removed: set[str] = set()
        for key in self._objects.list():
            name, _, rest = key.partition("/")
            if rest.startswith((_SNAPSHOTS, _JOURNAL)) and is_deployment_name(name):
                found.add(name)
            elif rest == _REMOVED:
                removed.add(name)
        return tuple(sorted(found - removed))

    def state_store(self, name: str) -> RemoteStateStore:
        """Keeps the state of one of them."""
        return RemoteStateStore(S3Storage(self._of(name)))

    def shared_lock(self, name: str) -> S3Lock:
        """The lock object beside the state."""
        return S3Lock(self._of(name), name)

    def secrets_document(self, name: str) -> S3Document:
        """Keeps its sealed secrets."""
        return S3Document(self._of(name), _SECRETS)

    def close(self) -> None:
        """Let go of connections."""
        self._objects.client.close()

    def _of(self, name: str) -> S3Objects:
        return replace(self._objects, prefix=f"{self._objects.prefix}{name}/")


class S3Storage:
    """The objects of one state: ``snapshots/<serial>.json`` and ``journal/<serial>.jsonl``.

    Args:
        objects: What is under the deployment's prefix.
    """

    def __init__(self, objects: S3Objects) -> None:
        self._objects = objects
        self._may_be_removed = True

    @property
    def place(self) -> str:
        """The prefix."""
        return self._objects.name_of("").rstrip("/")

    def describe_snapshot(self, serial: int) -> str:
        """Its URL."""
        return self._objects.name_of(_snapshot_key(serial))

    def describe_segment(self, first: int) -> str:
        """Its URL."""
        return self._objects.name_of(_segment_key(first))

    def index(self) -> Index:
        """What is there; nothing counts where a removal was begun."""
        keys = self._objects.list()
        if _REMOVED in keys:
            return Index()
        return Index(_serials(keys, _SNAPSHOTS), _serials(keys, _JOURNAL))

    def read_snapshot(self, serial: int) -> bytes | None:
        """A snapshot, or ``None`` if it is not there any longer."""
        stored = self._objects.get(_snapshot_key(serial))
        return stored.content if stored is not None else None

    def read_segments(self, first: Sequence[int]) -> Mapping[int, bytes]:
        """Segments by their first serial."""
        found = self._objects.get_all([_segment_key(serial) for serial in first])
        return {serial: found[key].content for serial in first if (key := _segment_key(serial)) in found}

    def add_segment(self, first: int, lines: Sequence[bytes]) -> bool:
        """Keep new entries as one object, which is written only if there is none of that serial."""
        self._finish_removal()
        return self._objects.put_new(_segment_key(first), b"".join(lines)) is not None

    def put_snapshot(self, serial: int, content: bytes, older: int) -> None:
        """Keep a snapshot, then drop what came before the older one."""
        self._finish_removal()
        self._objects.put(_snapshot_key(serial), content)
        index = self.index()
        self._objects.delete_all([_snapshot_key(s) for s in index.snapshots if s < older])
        self._objects.delete_all([_segment_key(s) for s in index.segments if s <= older])

    def install(self, serial: int, content: bytes) -> None:
        """Keep a snapshot as the only thing there is."""
        self._finish_removal()
        index = self.index()
        if serial <= max([*index.snapshots, *index.segments], default=0):
            self.clear()
        self.put_snapshot(serial, content, serial)

    def clear(self) -> None:
        """Remove everything of the state, with a mark that says so as long as it lasts."""
        keys = self._objects.list()
        doomed = [key for key in keys if key.startswith((_SNAPSHOTS, _JOURNAL))]
        if doomed:
            self._objects.put(_REMOVED, b"The removal of this state was begun and goes on at the next write.\n")
        self._objects.delete_all(doomed)
        if doomed or _REMOVED in keys:
            self._objects.delete(_REMOVED)

    def _finish_removal(self) -> None:
        if self._may_be_removed and _REMOVED in self._objects.list(_REMOVED):
            self.clear()
        self._may_be_removed = False


def _snapshot_key(serial: int) -> str:
    return f"{_SNAPSHOTS}{serial:012d}.json"


def _segment_key(first: int) -> str:
    return f"{_JOURNAL}{first:012d}.jsonl"


def _serials(keys: Sequence[str], folder: str) -> tuple[int, ...]:
    names = [key.removeprefix(folder).partition(".")[0] for key in keys if key.startswith(folder)]
    return tuple(sorted(int(name) for name in names if name.isdigit()))


class S3Document:
    """One small document as an object.

    Args:
        objects: What is under the deployment's prefix.
        key: The object.
    """

    def __init__(self, objects: S3Objects, key: str) -> None:
        self._objects = objects
        self._key = key

    def read(self) -> StoredDocument | None:
        """The document, or ``None`` if there is none."""
        stored = self._objects.get(self._key)
        return StoredDocument(stored.content, stored.etag) if stored is not None else None

    def write(self, content: bytes, previous: str) -> str:
        """Replace the document if it still is the version ``previous``; returns the new version."""
        if previous:
            version = self._objects.put_over(self._key, content, previous)
        else:
            version = self._objects.put_new(self._key, content)
        if version is None:
            raise StateError(
                "Somebody else has changed the same thing.",
                detail=f"{self._objects.name_of(self._key)} was replaced meanwhile; nothing was written.",
                resolution="Run the command again.",
            )
        return version

    def delete(self) -> None:
        """Remove the document; nothing there is no error."""
        self._objects.delete(self._key)


class S3Lock:
    """An object that names who holds the lock; written only on the condition that nobody else wrote meanwhile.

    It stays when it is given back, and says so then: replacing on a condition is known to more stores than removing on
    one.

    Args:
        objects: What is under the deployment's prefix.
        deployment: Name of the deployment.
        clock: For the stamps.
    """

    def __init__(self, objects: S3Objects, deployment: str, *, clock: Clock = utc_now) -> None:
        self._objects = objects
        self._deployment = deployment
        self._clock = clock
        self._held: tuple[LockHolder, str] | None = None
        self._warnings: tuple[str, ...] = ()

    @property
    def fds(self) -> tuple[int, ...]:
        """None: it stays taken until it is given back, whatever becomes of the process."""
        return ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """That it was taken over from a process that is gone."""
        return self._warnings

    def acquire(self, holder: LockHolder) -> None:
        """Take it, if nobody has it or whoever has it ran on this host and is gone for certain."""
        found = self._read()
        if found is None:
            etag = self._objects.put_new(_LOCK, _rendered(holder))
        else:
            before, version = found
            self._warnings = ()
            if before is not None and not before.released:
                if not is_gone(before, Path(holder.file)):
                    raise held_elsewhere(self._deployment, before, self._clock)
                self._warnings = (_taken_over(self._deployment, before),)
            etag = self._objects.put_over(_LOCK, _rendered(holder), version)
        if etag is None:
            raise self._lost_race()
        self._held = (holder, etag)
        try:
            self._objects.check_conditions(_LOCK, _rendered(holder))
        except BaseException:
            self._held = None
            with contextlib.suppress(StateError):
                self._objects.delete(_LOCK)
            raise

    def release(self, *, children_left: bool) -> None:
        """Give it back, unless children are left: the next run on this host takes it over when they have ended."""
        if self._held is None:
            return
        (holder, etag), self._held = self._held, None
        if children_left:
            return
        given_back = _rendered(replace(holder, released=render_time(self._clock())))
        if self._objects.put_over(_LOCK, given_back, etag) is None:
            raise StateError(
                "The lock was taken away during this run.",
                detail=f"{self._objects.name_of(_LOCK)} is not any longer what this run wrote: somebody unlocked "
                f"{self._deployment} while it was being worked on. Every step of this run is kept.",
                resolution="See who did so and what they changed: `deploy runs` there, and `deploy plan` here.",
                doc="docs/state.md",
            )

    def read_holder(self) -> LockHolder | None:
        """Who holds it now."""
        found = self._read()
        return found[0] if found is not None and found[0] is not None and not found[0].released else None

    def break_open(self, holder: LockHolder) -> None:
        """Take it away from ``holder``."""
        found = self._read()
        if found is None or found[0] is None or found[0].released:
            return
        broken = _rendered(replace(holder, released=render_time(self._clock())))
        if found[0] != holder or self._objects.put_over(_LOCK, broken, found[1]) is None:
            raise self._lost_race()

    def _read(self) -> tuple[LockHolder | None, str] | None:
        """Who the object names (``None`` if that cannot be read) and its version; ``None`` if there is none."""
        stored = self._objects.get(_LOCK)
        if stored is None:
            return None
        try:
            return LockHolder(**json.loads(stored.content)), stored.etag
        except (ValueError, TypeError):
            raise StateError(
                "The lock cannot be read.",
                detail=f"{self._objects.name_of(_LOCK)} is no lock of this program, or of a newer version of it.",
                resolution="See who wrote it. If nobody works on the deployment, remove that object.",
                doc="docs/state.md",
            ) from None

    def _lost_race(self) -> LockedError:
        return LockedError(
            "The deployment is in use.",
            detail=f"Somebody else took the lock of {self._deployment} ({self._objects.name_of(_LOCK)}) just now.",
            resolution="Wait until that run has ended, then repeat the command.",
        )


def _rendered(holder: LockHolder) -> bytes:
    return (json.dumps(asdict(holder), indent=2) + "\n").encode("ascii")


def _taken_over(deployment: str, before: LockHolder) -> str:
    return (
        f"The lock of {deployment} was still held in the name of process {before.pid} of {before.user} on this host "
        f"(`{before.command}`, since {before.since}), which is gone. It was taken over."
    )
