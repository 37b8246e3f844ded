"""The state in PostgreSQL: rights, restarts, damage, and the lock that a child process keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from orchestrator.errors import LockedError, StateError, StateVersionError, UsageError
from orchestrator.state.backend import Backend, choose, lock_of, open_backend
from orchestrator.state.postgres_database import PostgresDatabase, _parameters
from orchestrator.state.session import DeploymentSession
from orchestrator.state.snapshot import parse_snapshot
from tests.unit.state.conftest import PostgresServer, make_certificate
from tests.unit.state.test_backends import filled, instance
from tests.unit.state.test_s3 import end, holding

Open = Callable[[str], Backend]
Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def schema() -> str:
    return f"s{uuid4().hex[:12]}"


@pytest.fixture
def url(postgres_server: PostgresServer, schema: str) -> str:
    return f"{postgres_server.url}?schema={schema}"


@pytest.fixture
def ask(postgres_server: PostgresServer, schema: str) -> Ask:
    """Runs a statement as the owner of the database; ``{schema}`` stands for the schema."""

    def run(statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            done = connection.execute(sql.SQL(statement).format(schema=sql.Identifier(schema)), values)
            return done.fetchall() if done.description else []

    return run


def test_reading_makes_no_tables(url: str, open_place: Open, ask: Ask, schema: str) -> None:
    assert open_place(url).state_store("demo").load() is None
    assert open_place(url).secrets_document("demo").read() is None
    assert ask("SELECT 1 FROM pg_namespace WHERE nspname = %s", schema) == []


def test_a_compaction_keeps_the_snapshot_before_and_what_came_after(url: str, open_place: Open, ask: Ask) -> None:
    session = filled(open_place(url))
    session.snapshot()
    assert ask("SELECT serial FROM {schema}.snapshots ORDER BY 1") == [(4,), (7,)]
    assert ask("SELECT serial FROM {schema}.journal ORDER BY 1") == [(5,), (6,), (7,)]


def test_a_damaged_snapshot_is_rebuilt_and_a_missing_step_is_told(url: str, open_place: Open, ask: Ask) -> None:
    session = filled(open_place(url))
    session.snapshot()
    ask("UPDATE {schema}.snapshots SET content = 'x' WHERE serial = 7")
    store = open_place(url).state_store("demo")
    assert store.load() == session.state
    assert "serial 7" in store.warnings[0]
    ask("DELETE FROM {schema}.journal WHERE serial = 6")
    with pytest.raises(StateError, match="damaged") as caught:
        open_place(url).state_store("demo").load()
    assert "serial 7" in caught.value.detail


def test_a_snapshot_of_an_older_version_is_read(url: str, open_place: Open, ask: Ask) -> None:
    filled(open_place(url), "other")
    for path in sorted((Path(__file__).parents[2] / "fixtures" / "state").rglob("snapshot.json")):
        wanted = parse_snapshot(path.read_bytes())
        ask("DELETE FROM {schema}.snapshots WHERE deployment = 'demo'")
        ask("INSERT INTO {schema}.snapshots VALUES ('demo', %s, %s)", wanted.serial, path.read_bytes())
        assert open_place(url).state_store("demo").load() == wanted


def test_tables_of_a_newer_version_are_left_alone(url: str, open_place: Open, ask: Ask) -> None:
    filled(open_place(url))
    ask("UPDATE {schema}.layout SET version = 99")
    with pytest.raises(StateVersionError, match="newer version"):
        open_place(url).state_store("demo").load()
    with pytest.raises(StateVersionError, match="newer version"):
        lock_of("demo", open_place(url)).acquire("deploy apply")


# -------------------------------------------------------------------------------------------------------------- rights


@pytest.mark.parametrize("way", ["CREATE SCHEMA", "GRANT"])
def test_a_user_with_the_documented_rights_can_work_and_no_more_is_needed(
    way: str, url: str, open_place: Open, ask: Ask, postgres_server: PostgresServer, schema: str
) -> None:
    if way == "GRANT":
        filled(open_place(url), "first")
    user = f"u{schema}"
    page = (Path(__file__).parents[3] / "docs" / "state.md").read_text(encoding="utf-8")
    grants = [line.strip() for line in page.splitlines() if line.strip().startswith(f"{way} ")]
    assert grants
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
        for grant in grants:
            text = grant.replace("continuum_deploy", schema).replace("deployer", user)
            connection.execute(text.encode())
    theirs = url.replace("deploy@", f"{user}@")
    with lock_of("demo", open_place(theirs)).acquire("deploy apply"):
        session = filled(open_place(theirs))
        session.snapshot()
        open_place(theirs).secrets_document("demo").write(b"x", "")
    assert open_place(theirs).state_store("demo").load() == session.state
    session.delete()


def test_a_user_without_rights_is_told_which(
    url: str, open_place: Open, ask: Ask, postgres_server: PostgresServer, schema: str
) -> None:
    user = f"u{schema}"
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
    with pytest.raises(StateError, match="cannot be written") as caught:
        lock_of("demo", open_place(url.replace("deploy@", f"{user}@"))).acquire("deploy apply")
    assert "permission denied" in caught.value.detail
    assert "docs/state.md" in caught.value.resolution


def test_a_server_that_cannot_be_reached_or_does_not_let_in_is_told(open_place: Open, url: str) -> None:
    for bad in ("postgresql://127.0.0.1:9/x", url.replace("/postgres?", "/nothing-here?")):
        with pytest.raises(StateError, match="cannot be read") as caught:
            open_place(bad).deployments()
        assert "Could not connect" in caught.value.detail
        assert "PGPASSFILE" in caught.value.resolution


def test_what_libpq_does_not_know_is_refused(postgres_server: PostgresServer) -> None:
    with pytest.raises(UsageError, match="cannot be where the state is kept") as caught:
        open_backend(f"{postgres_server.url}?sslmoed=require")
    assert "sslmoed" in caught.value.detail
    with pytest.raises(UsageError):
        open_backend(f"{postgres_server.url}?schema=pg_catalog")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postgresql://db.example/x", "verify-full"),
        ("postgresql://10.1.2.3/x", "verify-full"),
        ("postgresql://db.example/x?sslmode=require", "require"),
        ("postgresql://localhost/x", None),
        ("postgresql://[::1]/x", None),
        ("postgresql:///x?host=/run/postgresql", None),
        ("postgresql:///x?service=states", None),
    ],
)
def test_what_crosses_a_network_is_encrypted_unless_said_otherwise(
    text: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.state.backend import parse_url

    for name in ("PGSSLMODE", "PGHOST", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    url = parse_url(text)
    assert _parameters(url, dict(url.options)).get("sslmode") == wanted


def test_a_server_has_to_show_who_it_is(
    url: str, open_place: Open, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path, "other")
    right = f"{url}&sslmode=verify-full&sslrootcert={postgres_server.certificate}"
    state = filled(open_place(right)).state
    assert open_place(right).state_store("demo").load() == state
    with pytest.raises(StateError, match="cannot be read") as caught:
        open_place(right.replace(str(postgres_server.certificate), str(other))).state_store("demo").load()
    assert "certificate verify failed" in caught.value.detail
    assert "sslrootcert" in caught.value.resolution


# ------------------------------------------------------------------------------------------------------------ restarts


def test_a_server_that_restarts_ends_the_run_and_the_state_stays_right(
    url: str, open_place: Open, postgres_server: PostgresServer
) -> None:
    backend = open_place(url)
    with lock_of("demo", backend).acquire("deploy apply"):
        session = filled(backend)
        before = session.state
        postgres_server.stop()
        with pytest.raises(StateError, match="connection to the state was lost") as caught:
            session.record(instance(8))
        assert "The lock of this run is gone" in caught.value.detail
        assert session.state == before
        postgres_server.start()
        for _ in range(2):
            with pytest.raises(StateError, match="connection to the state was lost"):
                session.record(instance(8))
            with pytest.raises(StateError, match="connection to the state was lost"):
                backend.secrets_document("demo").write(b"x", "")
        with lock_of("other", open_place(url)).acquire("deploy apply"):
            pass
        lock_of_another_host = open_place(url).shared_lock("demo")
        assert lock_of_another_host is not None
        assert lock_of_another_host.read_holder() is None
        with pytest.raises(StateError, match="connection to the state was lost"):
            session.snapshot()
        assert open_place(url).state_store("demo").load() == before
        postgres_server.stop()
        with pytest.raises(StateError, match="cannot be read"):
            open_place(url).state_store("demo").load()
        postgres_server.start()
    with lock_of("demo", open_place(url)).acquire("deploy apply"):
        again = DeploymentSession(open_place(url).state_store("demo"), "demo")
        assert again.state == before
        again.record(instance(8))


def test_a_reader_without_a_lock_comes_back_after_a_restart(
    url: str, open_place: Open, postgres_server: PostgresServer
) -> None:
    state = filled(open_place(url)).state
    store = open_place(url).state_store("demo")
    assert store.load() == state
    postgres_server.stop()
    postgres_server.start()
    with pytest.raises(StateError, match="connection to the state was lost"):
        store.load()
    assert store.load() == state


# ---------------------------------------------------------------------------------------------------------------- lock


def test_two_hosts_one_is_refused(url: str, open_place: Open, tmp_path: Path) -> None:
    with holding(url, tmp_path / "other-host") as (process, _):
        with pytest.raises(LockedError) as caught:
            lock_of("demo", open_place(url)).acquire("deploy apply")
        assert f"process {process.pid}" in caught.value.detail
        assert "deploy apply production.yaml" in caught.value.detail
        process.communicate("\n\n", timeout=20)
    with lock_of("demo", open_place(url)).acquire("deploy apply"):
        pass


@pytest.mark.parametrize("sslmode", ["disable", "require"])
@pytest.mark.parametrize("way", ["killed", "released"])
def test_a_child_that_is_left_keeps_the_lock_until_it_ends(
    sslmode: str, url: str, open_place: Open, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(f"{url}&sslmode={sslmode}", tmp_path / "other-host", "child") as (process, child):
        assert process.stdin is not None
        assert process.stdout is not None
        if way == "killed":
            process.kill()
        else:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "released\n"
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(timeout=20)
        with monkeypatch.context() as patch:
            patch.setattr("orchestrator.state.postgres_backend._LOOKS", 3)
            for _ in range(2):
                with pytest.raises(LockedError) as caught:
                    lock_of("demo", open_place(url)).acquire("deploy apply")
                assert "deploy apply production.yaml" in caught.value.detail
        end(child)
        with lock_of("demo", open_place(url)).acquire("deploy apply"):
            pass


def test_a_process_that_was_killed_leaves_no_lock(url: str, open_place: Open, tmp_path: Path) -> None:
    with holding(url, tmp_path / "other-host") as (process, _):
        process.kill()
        process.wait(timeout=10)
        with lock_of("demo", open_place(url)).acquire("deploy apply"):
            pass


def test_unlocking_ends_the_session_of_the_holder(
    url: str, open_place: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.cli.main import main

    choose(url)
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.state.lock.socket.gethostname", lambda: "far-away")
        patch.setenv("DEPLOY_HOME", str(tmp_path / "other-host"))
        backend = open_place(url)
        theirs = lock_of("demo", backend).acquire("deploy apply --far")
    session = filled(backend)
    assert main(["state", "unlock", "demo", "--auto-approve"]) == 0
    assert "far-away" in capsys.readouterr().err
    with lock_of("demo", open_place(url)).acquire("deploy apply"):
        with pytest.raises(StateError, match="connection to the state was lost"):
            session.record(instance(9))
        theirs.release()
    assert main(["state", "unlock", "demo", "--auto-approve"]) == 0
    assert "not locked" in capsys.readouterr().out


def test_locks_of_different_schemas_and_names_are_different(url: str) -> None:
    first = PostgresDatabase(open_url(url))
    other = PostgresDatabase(open_url(url + "x"))
    assert len({first.key_of("a"), first.key_of("b"), other.key_of("a")}) == 3


def open_url(url: str) -> Any:
    from orchestrator.state.backend import parse_url

    return parse_url(url)


def test_a_password_file_is_read_by_the_library_and_no_password_is_shown(
    url: str, open_place: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text("*:*:*:*:not-to-be-shown\n", encoding="utf-8")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    backend = open_place(url)
    filled(backend)
    assert "not-to-be-shown" not in backend.place
    command = Path(f"/proc/{os.getpid()}/cmdline").read_bytes()
    assert b"not-to-be-shown" not in command


def test_the_driver_is_named_where_it_is_not_installed(url: str, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from orchestrator.cli.main import main\n"
        "sys.exit(main(['state', 'list']))"
    )
    environment = {**os.environ, "DEPLOY_STATE": url, "DEPLOY_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 1
    assert "A library for the state is not installed." in done.stderr
    assert "continuum-deploy[postgresql]" in done.stderr
