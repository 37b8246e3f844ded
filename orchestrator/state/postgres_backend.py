"""The back-end in a PostgreSQL database."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import psycopg

from orchestrator.errors import LockedError, StateError
from orchestrator.state.backend import BackendUrl
from orchestrator.state.clock import Clock, render_time, utc_now
from orchestrator.state.document_store import StoredDocument
from orchestrator.state.lock import LockHolder, is_gone
from orchestrator.state.postgres_database import PostgresDatabase
from orchestrator.state.remote_storage import Index
from orchestrator.state.remote_store import RemoteStateStore
from orchestrator.state.shared_lock import held_elsewhere

_SECRETS = "secrets"
_LOOKS = 20
_BETWEEN_LOOKS = 0.1
"""Seconds between two looks at a lock that was given back, whose session the server has yet to end."""


class PostgresBackend:
    """States in a database.

    Args:
        url: ``postgresql://user@host:port/database``, with libpq's options and ``schema``.
    """

    def __init__(self, url: BackendUrl) -> None:
        self._database = PostgresDatabase(url)

    @property
    def place(self) -> str:
        """Server, database and schema."""
        return self._database.place

    def deployments(self) -> tuple[str, ...]:
        """Names of all deployments that have a state, in order."""
        rows = self._database.query(
            "SELECT deployment FROM {schema}.snapshots UNION SELECT deployment FROM {schema}.journal"
        )
        return tuple(sorted(str(name) for (name,) in rows))

    def state_store(self, name: str) -> RemoteStateStore:
        """Keeps the state of one of them."""
        return RemoteStateStore(PostgresStorage(self._database, name))

    def shared_lock(self, name: str) -> PostgresLock:
        """A lock of the server, held by this session."""
        return PostgresLock(self._database, name)

    def secrets_document(self, name: str) -> PostgresDocument:
        """Keeps its sealed secrets."""
        return PostgresDocument(self._database, name, _SECRETS)

    def close(self) -> None:
        """Close the connection, unless a lock is held by it."""
        self._database.close()


class PostgresStorage:
    """The rows of one state.

    Args:
        database: The connection.
        deployment: Name of the deployment.
    """

    def __init__(self, database: PostgresDatabase, deployment: str) -> None:
        self._database = database
        self._deployment = deployment

    @property
    def place(self) -> str:
        """Database and deployment."""
        return f"{self._database.place}, deployment {self._deployment}"

    def describe_snapshot(self, serial: int) -> str:
        """Its row."""
        return f"The row of serial {serial} in {self._database.schema}.snapshots (deployment {self._deployment})"

    def describe_segment(self, first: int) -> str:
        """Its row."""
        return f"The row of serial {first} in {self._database.schema}.journal (deployment {self._deployment})"

    def index(self) -> Index:
        """What is there, as of one moment."""
        rows = self._database.query(
            "SELECT true, serial FROM {schema}.snapshots WHERE deployment = %s"
            " UNION ALL SELECT false, serial FROM {schema}.journal WHERE deployment = %s",
            [self._deployment, self._deployment],
        )
        return Index(
            tuple(sorted(serial for is_snapshot, serial in rows if is_snapshot)),
            tuple(sorted(serial for is_snapshot, serial in rows if not is_snapshot)),
        )

    def read_snapshot(self, serial: int) -> bytes | None:
        """A snapshot, or ``None`` if it is not there any longer."""
        rows = self._database.query(
            "SELECT content FROM {schema}.snapshots WHERE deployment = %s AND serial = %s", [self._deployment, serial]
        )
        return bytes(rows[0][0]) if rows else None

    def read_segments(self, first: Sequence[int]) -> Mapping[int, bytes]:
        """Entries by their serial."""
        rows = self._database.query(
            "SELECT serial, entry FROM {schema}.journal WHERE deployment = %s AND serial = ANY(%s)",
            [self._deployment, list(first)],
        )
        return {serial: bytes(entry) for serial, entry in rows}

    def add_segment(self, first: int, lines: Sequence[bytes]) -> bool:
        """Keep new entries, one a row; the key of the table refuses a serial that is there."""
        try:
            with self._database.writing() as transaction:
                for serial, line in enumerate(lines, first):
                    transaction.run(
                        "INSERT INTO {schema}.journal VALUES (%s, %s, %s)", [self._deployment, serial, line]
                    )
        except StateError as error:
            if isinstance(error.__cause__, psycopg.errors.UniqueViolation):
                return False
            raise
        return True

    def put_snapshot(self, serial: int, content: bytes, older: int) -> None:
        """Keep a snapshot and drop what came before the older one, in one transaction."""
        with self._database.writing() as transaction:
            transaction.run(
                "INSERT INTO {schema}.snapshots VALUES (%s, %s, %s)"
                " ON CONFLICT (deployment, serial) DO UPDATE SET content = EXCLUDED.content",
                [self._deployment, serial, content],
            )
            drop = [self._deployment, older]
            transaction.run("DELETE FROM {schema}.snapshots WHERE deployment = %s AND serial < %s", drop)
            transaction.run("DELETE FROM {schema}.journal WHERE deployment = %s AND serial <= %s", drop)

    def install(self, serial: int, content: bytes) -> None:
        """Keep a snapshot as the only thing there is, in one transaction."""
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM {schema}.snapshots WHERE deployment = %s", [self._deployment])
            transaction.run("DELETE FROM {schema}.journal WHERE deployment = %s", [self._deployment])
            transaction.run("INSERT INTO {schema}.snapshots VALUES (%s, %s, %s)", [self._deployment, serial, content])

    def clear(self) -> None:
        """Remove everything of the state, in one transaction."""
        if self.index() == Index():
            return
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM {schema}.snapshots WHERE deployment = %s", [self._deployment])
            transaction.run("DELETE FROM {schema}.journal WHERE deployment = %s", [self._deployment])


class PostgresDocument:
    """One small document as a row.

    Args:
        database: The connection.
        deployment: Name of the deployment.
        name: Name of the document.
    """

    def __init__(self, database: PostgresDatabase, deployment: str, name: str) -> None:
        self._database = database
        self._row = (deployment, name)

    def read(self) -> StoredDocument | None:
        """The document, or ``None`` if there is none."""
        rows = self._database.query(
            "SELECT content FROM {schema}.documents WHERE deployment = %s AND name = %s", self._row
        )
        return StoredDocument(bytes(rows[0][0]), _version(bytes(rows[0][0]))) if rows else None

    def write(self, content: bytes, previous: str) -> str:
        """Replace the document if it still is the version ``previous``; returns the new version."""
        with self._database.writing() as transaction:
            if previous:
                written = transaction.run(
                    "UPDATE {schema}.documents SET content = %s"
                    " WHERE deployment = %s AND name = %s AND encode(sha256(content), 'hex') = %s",
                    [content, *self._row, previous],
                )
            else:
                written = transaction.run(
                    "INSERT INTO {schema}.documents VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", [*self._row, content]
                )
        if not written:
            raise StateError(
                "Somebody else has changed the same thing.",
                detail=f"The {self._row[1]} of {self._row[0]} in {self._database.place} were replaced from elsewhere "
                "meanwhile; nothing was written.",
                resolution="Run the command again.",
            )
        return _version(content)

    def delete(self) -> None:
        """Remove the document; nothing there is no error."""
        if self.read() is not None:
            with self._database.writing() as transaction:
                transaction.run("DELETE FROM {schema}.documents WHERE deployment = %s AND name = %s", self._row)


def _version(content: bytes) -> str:
    return sha256(content).hexdigest()


class PostgresLock:
    """A lock that the server keeps for a session: as long as any process has the connection's socket open.

    A row beside it says who took it.

    Args:
        database: The connection.
        deployment: Name of the deployment.
        clock: For the stamps.
        pause: Waits that many seconds.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        deployment: str,
        *,
        clock: Clock = utc_now,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._deployment = deployment
        self._clock = clock
        self._pause = pause
        self._holder: LockHolder | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """The connection's socket, while the lock is held."""
        return () if self._holder is None else (self._database.descriptor(),)

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the server knows who holds it."""
        return ()

    def acquire(self, holder: LockHolder) -> None:
        """Take it without waiting, but for the moment that the server needs to notice a session's end."""
        for look in range(_LOOKS):
            if self._database.hold(self._deployment):
                self._holder = holder
                try:
                    self._write(holder)
                except BaseException:
                    self.release(children_left=False)
                    raise
                return
            named = self._named()
            may_end = named is None or named.released or is_gone(named, Path(holder.file))
            if not may_end or look == _LOOKS - 1:
                raise self._refusal(named)
            self._pause(_BETWEEN_LOOKS)

    def release(self, *, children_left: bool) -> None:
        """Give it back; while children live that have the socket, the server keeps it."""
        holder, self._holder = self._holder, None
        if holder is None:
            return
        try:
            # A lost connection has given the lock back already; whatever relied on it has said so.
            with contextlib.suppress(StateError):
                self._write(replace(holder, released=render_time(self._clock())))
        finally:
            self._database.let_go(self._deployment, children_left=children_left)

    def read_holder(self) -> LockHolder | None:
        """Who holds it now, as far as the row tells."""
        return self._named() if self._database.is_held(self._deployment) else None

    def break_open(self, holder: LockHolder) -> None:
        """End the session that has it: its next step fails then."""
        now = self.read_holder()
        if now is not None and now != holder:
            raise self._refusal(now)
        self._database.end_holder(self._deployment)

    def _named(self) -> LockHolder | None:
        rows = self._database.query("SELECT holder FROM {schema}.locks WHERE deployment = %s", [self._deployment])
        try:
            return LockHolder(**json.loads(rows[0][0])) if rows else None
        except (ValueError, TypeError):
            return None

    def _write(self, holder: LockHolder) -> None:
        with self._database.writing() as transaction:
            transaction.run(
                "INSERT INTO {schema}.locks VALUES (%s, %s)"
                " ON CONFLICT (deployment) DO UPDATE SET holder = EXCLUDED.holder",
                [self._deployment, json.dumps(asdict(holder))],
            )

    def _refusal(self, holder: LockHolder | None) -> LockedError:
        if holder is not None and not holder.released:
            return held_elsewhere(self._deployment, holder, self._clock)
        who = "Somebody, who did not say who it is,"
        if holder is not None:
            who = (
                f"A child process (a play or another tool) of process {holder.pid} of {holder.user} on {holder.host}, "
                f"which ran `{holder.command}` and ended its run at {holder.released},"
            )
        return LockedError(
            "The deployment is in use.",
            detail=f"{who} still holds the lock of {self._deployment} in {self._database.place}.",
            resolution=f"Wait until it has ended. Only if you know that it is not running any longer, take the lock "
            f"away with `deploy state unlock {self._deployment}`.",
            doc="docs/state.md",
        )
