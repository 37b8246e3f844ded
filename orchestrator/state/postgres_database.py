"""One connection to a PostgreSQL server: how it is made, what its refusals mean, and the tables of the states."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from orchestrator.errors import StateError, StateVersionError
from orchestrator.state.backend import BackendUrl

DEFAULT_SCHEMA = "continuum_deploy"
TABLES_VERSION = 1

_STATEMENT_SECONDS, _LOCK_SECONDS = 30, 15
_CONNECTION = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "45000",
    "application_name": "continuum-deploy",
}
_TABLES: LiteralString = """
CREATE TABLE {schema}.layout (version integer NOT NULL);
CREATE TABLE {schema}.snapshots (
    deployment text NOT NULL, serial bigint NOT NULL, content bytea NOT NULL, PRIMARY KEY (deployment, serial));
CREATE TABLE {schema}.journal (
    deployment text NOT NULL, serial bigint NOT NULL, entry bytea NOT NULL, PRIMARY KEY (deployment, serial));
CREATE TABLE {schema}.documents (
    deployment text NOT NULL, name text NOT NULL, content bytea NOT NULL, PRIMARY KEY (deployment, name));
CREATE TABLE {schema}.locks (deployment text PRIMARY KEY, holder text NOT NULL);
INSERT INTO {schema}.layout VALUES ({version});
"""

Row = tuple[Any, ...]


class PostgresDatabase:
    """A connection that is opened at its first use; safe to use from several threads.

    While a lock is held, which lives as long as the connection, a lost connection is not opened again: the lock may be
    somebody else's by then, so every method raises StateError until the lock is given up.

    Args:
        url: ``postgresql://user@host:port/database``, with libpq's options and ``schema``.
    """

    def __init__(self, url: BackendUrl) -> None:
        self._guard = threading.RLock()
        self._connection: psycopg.Connection[Row] | None = None
        self._has_tables = False
        self._holds_lock = False
        options = dict(url.options)
        self.schema = options.pop("schema", DEFAULT_SCHEMA)
        if not self.schema or self.schema.startswith("pg_"):
            raise url.refused(f"{self.schema!r} cannot be the schema.")
        self._parameters = _parameters(url, options)
        self._place = f"postgresql://{url.host or 'local'}{f':{url.port}' if url.port else ''}{url.path}"

    @property
    def place(self) -> str:
        """Server, database and schema, for people."""
        return f"{self._place} (schema {self.schema})"

    def __del__(self) -> None:
        """Close, without a warning of the library."""
        self.close()

    def close(self) -> None:
        """Close the connection; not while a lock is held, which would be gone with it."""
        with self._guard:
            if self._connection is not None and not self._holds_lock:
                self._connection.close()
                self._connection = None

    def query(self, statement: LiteralString, values: Sequence[Any] = ()) -> list[Row]:
        """Rows of a statement in which ``{schema}`` stands for the schema; none if there are no tables yet."""
        with self._guard, self._translated("read"):
            if not self._tables_are_there():
                return []
            return self._open().execute(self._filled(statement), values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction, durable at the end of the block; the tables are made if there are none."""
        with self._guard, self._translated("write"):
            self._make_tables()
            connection = self._open()
            with connection.transaction():
                yield Transaction(connection, self._filled)

    def hold(self, name: str) -> bool:
        """Take the lock of that name for this connection; ``False`` if another connection has it."""
        with self._guard, self._translated("lock"):
            self._make_tables()
            row = self._open().execute("SELECT pg_try_advisory_lock(%s)", [self.key_of(name)]).fetchone()
            self._holds_lock = bool(row and row[0])
            return self._holds_lock

    def let_go(self, name: str, *, children_left: bool) -> None:
        """Give the lock back.

        Args:
            name: The lock.
            children_left: Whether child processes have inherited the connection's socket. Then only our end is closed:
                the server keeps the lock until the last of them has closed its own by ending.
        """
        with self._guard:
            self._holds_lock = False
            connection, self._connection = self._connection, None
            if connection is None or connection.closed:
                return
            if not children_left:
                with contextlib.suppress(psycopg.Error):
                    connection.execute("SELECT pg_advisory_unlock(%s)", [self.key_of(name)])
                connection.close()
                return
            # The library would tell the server that the session ends. What it says goes nowhere instead.
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nowhere, connection.fileno(), inheritable=False)
            os.close(nowhere)
            connection.close()

    def descriptor(self) -> int:
        """The connection's socket; whoever has it open keeps the session and its locks alive."""
        with self._guard:
            return self._open().fileno()

    def end_holder(self, name: str) -> bool:
        """End the session that has the lock; ``False`` if none has it."""
        key = self.key_of(name) & 0xFFFFFFFFFFFFFFFF
        with self._guard, self._translated("unlock"):
            rows = self._open().execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND classid = %s AND objid = %s AND objsubid = 1 AND pid <> pg_backend_pid()"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                [key >> 32, key & 0xFFFFFFFF],
            )
            return bool(rows.fetchall())

    def is_held(self, name: str) -> bool:
        """Whether any session has the lock."""
        key = self.key_of(name) & 0xFFFFFFFFFFFFFFFF
        with self._guard, self._translated("read"):
            rows = self._open().execute(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s"
                " AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                [key >> 32, key & 0xFFFFFFFF],
            )
            return bool(rows.fetchall())

    def key_of(self, name: str) -> int:
        """The number of a lock: 64 bits of a digest of schema and name, with sign."""
        digest = hashlib.sha256(f"continuum-deploy\0{self.schema}\0{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _open(self) -> psycopg.Connection[Row]:
        if self._connection is not None and not self._connection.closed and not self._connection.broken:
            return self._connection
        if self._holds_lock:
            raise self._lost("it was closed")
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        connection = psycopg.connect(make_conninfo(**self._parameters), autocommit=True)
        try:
            for setting, value in self._settings(connection).items():
                connection.execute("SELECT set_config(%s, %s, false)", [setting, value])
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _settings(self, connection: psycopg.Connection[Row]) -> dict[str, str]:
        found = {
            "statement_timeout": f"{_STATEMENT_SECONDS}s",
            "lock_timeout": f"{_LOCK_SECONDS}s",
            "synchronous_commit": "on",
        }
        # A server that closes idle sessions would take the lock away during a long play.
        return found | ({"idle_session_timeout": "0"} if connection.info.server_version >= 140000 else {})

    def _filled(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=sql.Identifier(self.schema), version=sql.Literal(TABLES_VERSION))

    def _tables_are_there(self) -> bool:
        if self._has_tables:
            return True
        row = self._open().execute(
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = 'layout'",
            [self.schema],
        )
        if row.fetchone() is None:
            return False
        found = self._open().execute(self._filled("SELECT max(version) FROM {schema}.layout")).fetchone()
        version = int(found[0]) if found and found[0] is not None else 0
        if version > TABLES_VERSION:
            raise StateVersionError(
                "The state was written by a newer version of this program.",
                detail=f"The tables in {self.place} have version {version}, while this program knows versions up to "
                f"{TABLES_VERSION}. Nothing was changed.",
                resolution="Use the version of continuum-deploy that made them, or a later one.",
            )
        self._has_tables = True
        return True

    def _make_tables(self) -> None:
        if self._tables_are_there():
            return
        connection = self._open()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [self.key_of("\0tables")])
            if self._tables_are_there():
                return
            there = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self.schema]).fetchone()
            if there is None:
                connection.execute(self._filled("CREATE SCHEMA {schema}"))
            connection.execute(self._filled(_TABLES))
        self._has_tables = True

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._explained(error, doing) from error

    def _explained(self, error: psycopg.Error, doing: str) -> StateError:
        said = " ".join(str(error).split())
        if self._connection is not None and (self._connection.closed or self._connection.broken):
            return self._lost(said)
        summary = "The state cannot be read." if doing == "read" else "The state cannot be written."
        resolution = next((text for kinds, text in _RESOLUTIONS if isinstance(error, kinds)), "")
        if self._connection is None:
            what = f"Could not connect to {self.place}"
            resolution = _CONNECTING
        else:
            what = f"Could not {doing} in {self.place}"
            resolution = resolution or "Mend what the server reports, then repeat the command."
        return StateError(summary, detail=f"{what}: {said}.", resolution=resolution, doc="docs/state.md")

    def _lost(self, said: str) -> StateError:
        lock = " The lock of this run is gone with it, so it does not go on." if self._holds_lock else ""
        return StateError(
            "The connection to the state was lost.",
            detail=f"{self.place}: {said}.{lock} What was confirmed before is kept.",
            resolution="When the server answers again, repeat the command: it finds out what the step that was being "
            "done has made, and goes on.",
            doc="docs/state.md",
        )


class Transaction:
    """What a transaction is asked to do.

    Args:
        connection: In a transaction.
        filled: Puts the schema in place of ``{schema}``.
    """

    def __init__(self, connection: psycopg.Connection[Row], filled: Any) -> None:
        self._connection = connection
        self._filled = filled

    def run(self, statement: LiteralString, values: Sequence[Any] = ()) -> int:
        """Run a statement; returns how many rows it touched."""
        return self._connection.execute(self._filled(statement), values).rowcount

    def rows(self, statement: LiteralString, values: Sequence[Any] = ()) -> list[Row]:
        """Rows of a statement."""
        return self._connection.execute(self._filled(statement), values).fetchall()


_CONNECTING = (
    "See that the server runs and lets this user in, and that host, port, database, user and TLS settings (sslmode, "
    "sslrootcert) are right; a password is looked for in ~/.pgpass or the file that PGPASSFILE names."
)
_RESOLUTIONS: tuple[tuple[Any, str], ...] = (
    (
        psycopg.errors.InsufficientPrivilege,
        "Let the owner of the database make the schema for this user and grant the rights that docs/state.md lists.",
    ),
    (psycopg.errors.ReadOnlySqlTransaction, "Connect to the primary server; this one only reads."),
    (psycopg.errors.DiskFull, "Free some space on the server, then repeat the command; what was saved is unharmed."),
    (
        (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable),
        f"A lock took longer than {_LOCK_SECONDS} s or a statement {_STATEMENT_SECONDS} s: see what it is busy with.",
    ),
)


def _parameters(url: BackendUrl, options: dict[str, str]) -> dict[str, str]:
    """The connection's parameters: what the URL says, then what we choose where neither it nor the environment does."""
    found = {"host": url.host, "port": str(url.port or ""), "user": url.user, "dbname": url.path.strip("/")} | options
    found = {key: value for key, value in found.items() if value}
    chosen = {key: value for key, value in _CONNECTION.items() if key not in found}
    host = found.get("host") or found.get("hostaddr") or os.environ.get("PGHOST", "")
    settled = "sslmode" in found or "PGSSLMODE" in os.environ or "service" in found or "PGSERVICE" in os.environ
    if host and not settled and not _is_here(host):
        # What crosses a network is encrypted, and the server has to show who it is.
        chosen["sslmode"] = "verify-full"
        authorities = ssl.get_default_verify_paths().cafile
        own = Path("~/.postgresql/root.crt").expanduser()
        if authorities and "sslrootcert" not in found and "PGSSLROOTCERT" not in os.environ and not own.exists():
            chosen["sslrootcert"] = authorities
    try:
        make_conninfo(**found)
    except psycopg.ProgrammingError as error:
        raise url.refused(" ".join(str(error).split()) + ".") from error
    return chosen | found


def _is_here(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
