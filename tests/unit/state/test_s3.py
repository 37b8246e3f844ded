"""The state in a bucket: what a store may refuse, lose or answer wrongly, and the lock among hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.cli.main import main
from orchestrator.errors import LockedError, StateError
from orchestrator.state import lock
from orchestrator.state.backend import Backend, choose, lock_of
from orchestrator.state.local_store import LocalStateStore
from orchestrator.state.model import SCHEMA_VERSION
from orchestrator.state.s3_objects import S3Objects, open_objects
from orchestrator.state.session import DeploymentSession
from tests.http_server import serving
from tests.unit.state.conftest import BUCKET, make_certificate
from tests.unit.state.test_backends import entries, filled, instance

Open = Callable[[str], Backend]


@pytest.fixture
def url(s3_client: Any) -> str:
    return f"s3://{BUCKET}/{uuid4().hex[:12]}"


def prefix_of(url: str, name: str = "demo") -> str:
    return url.removeprefix(f"s3://{BUCKET}/") + f"/{name}/"


def keys(client: Any, url: str) -> list[str]:
    prefix = prefix_of(url)
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return sorted(entry["Key"].removeprefix(prefix) for entry in found)


def put(client: Any, url: str, key: str, content: bytes) -> None:
    client.put_object(Bucket=BUCKET, Key=prefix_of(url) + key, Body=content)


def get(client: Any, url: str, key: str) -> bytes:
    return bytes(client.get_object(Bucket=BUCKET, Key=prefix_of(url) + key)["Body"].read())


def refused(backend: Backend) -> StateError:
    with pytest.raises(StateError) as caught:
        backend.state_store("demo").load()
    assert caught.value.detail
    assert caught.value.resolution
    return caught.value


# ------------------------------------------------------------------------------------------------ what is in the bucket


def test_a_compaction_keeps_the_snapshot_before_and_what_came_after_it(
    url: str, open_place: Open, s3_client: Any
) -> None:
    session = filled(open_place(url))
    assert keys(s3_client, url) == [
        *[f"journal/{serial:012d}.jsonl" for serial in range(2, 8)],
        "snapshots/000000000001.json",
        "snapshots/000000000004.json",
    ]
    session.snapshot()
    assert keys(s3_client, url) == [
        *[f"journal/{serial:012d}.jsonl" for serial in (5, 6, 7)],
        "snapshots/000000000004.json",
        "snapshots/000000000007.json",
    ]


@pytest.mark.parametrize("damage", [b"", b"{}", b"cut"])
def test_a_damaged_snapshot_is_rebuilt_from_the_one_before(
    url: str, open_place: Open, s3_client: Any, damage: bytes
) -> None:
    session = filled(open_place(url))
    session.snapshot()
    session.record(instance(6))
    put(s3_client, url, "snapshots/000000000007.json", damage)
    store = open_place(url).state_store("demo")
    assert store.load() == session.state
    assert "snapshots/000000000007.json is damaged" in store.warnings[0]
    store.compact(session.state)
    again = open_place(url).state_store("demo")
    assert again.load() == session.state
    assert again.warnings == ()


@pytest.mark.parametrize("key", ["journal/000000000006.jsonl", "journal/000000000005.jsonl"])
def test_a_missing_step_is_told(url: str, open_place: Open, s3_client: Any, key: str) -> None:
    filled(open_place(url))
    s3_client.delete_object(Bucket=BUCKET, Key=prefix_of(url) + key)
    error = refused(open_place(url))
    assert error.summary == "The state is damaged."
    assert "does not fit" in error.detail


def test_a_missing_snapshot_is_told_unless_the_one_before_reaches_as_far(
    url: str, open_place: Open, s3_client: Any
) -> None:
    session = filled(open_place(url))
    session.snapshot()
    s3_client.delete_object(Bucket=BUCKET, Key=prefix_of(url) + "snapshots/000000000007.json")
    assert open_place(url).state_store("demo").load() == session.state
    s3_client.delete_object(Bucket=BUCKET, Key=prefix_of(url) + "snapshots/000000000004.json")
    assert "what comes before it ends at serial 0" in refused(open_place(url)).detail


@pytest.mark.parametrize("change", ["altered", "cut", "moved", "newer"])
def test_a_damaged_step_is_told(url: str, open_place: Open, s3_client: Any, change: str) -> None:
    filled(open_place(url))
    key = "journal/000000000005.jsonl"
    content = get(s3_client, url, key)
    put(
        s3_client,
        url,
        key,
        {
            "altered": content.replace(b"Machine", b"Mashine"),
            "cut": content[:-20],
            "moved": get(s3_client, url, "journal/000000000006.jsonl"),
            "newer": content.replace(b'"schema":%d' % SCHEMA_VERSION, b'"schema":99'),
        }[change],
    )
    error = refused(open_place(url))
    assert key in error.detail
    assert ("newer version" in error.summary) == (change == "newer")


def test_steps_and_snapshots_of_older_versions_are_read(url: str, open_place: Open, s3_client: Any) -> None:
    older = Path(__file__).parents[2] / "fixtures" / "state"
    found = sorted(older.rglob("snapshot.json"))
    assert found, "no state of an older version is kept for the tests"
    for path in found:
        content = path.read_bytes()
        document = json.loads(content)
        put(s3_client, url, f"snapshots/{document['serial']:012d}.json", content)
        state = open_place(url).state_store("demo").load()
        assert state is not None
        assert (state.serial, state.lineage) == (document["serial"], document["lineage"])
        assert set(state.instances) == set(document["instances"])
        steps = 0
        for line in (path.parent / "journal.jsonl").read_bytes().splitlines(keepends=True):
            entry = json.loads(line)
            if entry["kind"] != "continues" and entry["serial"] > document["serial"]:
                put(s3_client, url, f"journal/{entry['serial']:012d}.jsonl", line)
                steps += 1
        assert steps, "no step of an older version is kept for the tests"
        state = open_place(url).state_store("demo").load()
        assert state == LocalStateStore(path.parent).load()


def test_a_removal_that_was_cut_off_leaves_nothing_to_be_read(
    url: str, open_place: Open, s3_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = filled(open_place(url))

    def dying(_objects: S3Objects, _keys: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(S3Objects, "delete_all", dying)
        with pytest.raises(KeyboardInterrupt):
            session.delete()
    assert keys(s3_client, url)
    backend = open_place(url)
    assert backend.deployments() == ()
    assert backend.state_store("demo").load() is None
    again = DeploymentSession(backend.state_store("demo"), "demo")
    again.record(instance(1))
    assert open_place(url).state_store("demo").load() == again.state
    assert "journal/000000000007.jsonl" not in keys(s3_client, url)


def test_a_bucket_that_keeps_versions_will_do(open_place: Open, s3_client: Any) -> None:
    bucket = f"versions-{uuid4().hex[:8]}"
    s3_client.create_bucket(Bucket=bucket)
    s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    url = f"s3://{bucket}"
    for _ in range(2):
        with lock_of("demo", open_place(url)).acquire("deploy apply"):
            session = filled(open_place(url))
            assert open_place(url).state_store("demo").load() == session.state
            session.delete()
    assert open_place(url).deployments() == ()


def test_objects_are_encrypted_as_asked(url: str, open_place: Open, s3_client: Any) -> None:
    filled(open_place(f"{url}?encryption=AES256&region=us-east-1"))
    head = s3_client.head_object(Bucket=BUCKET, Key=prefix_of(url) + "journal/000000000002.jsonl")
    assert head["ServerSideEncryption"] == "AES256"
    filled(open_place(f"{url}/kms?kms_key=alias/states"))
    head = s3_client.head_object(Bucket=BUCKET, Key=prefix_of(f"{url}/kms") + "journal/000000000002.jsonl")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/states")


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_bucket_that_is_not_there_is_told(open_place: Open, s3_client: Any) -> None:
    error = refused(open_place("s3://no-such-bucket-anywhere/x"))
    assert "NoSuchBucket" in error.detail
    assert "Make the bucket no-such-bucket-anywhere" in error.resolution


def test_a_store_that_cannot_be_reached_is_told(
    open_place: Open, s3_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    error = refused(open_place("s3://states/x"))
    assert "127.0.0.1:9" in error.detail
    assert "AWS_ENDPOINT_URL_S3" in error.resolution
    assert error.transient


def test_absent_keys_are_told(open_place: Open, s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = refused(open_place("s3://states/x"))
    assert "credentials" in error.detail
    assert "AWS_PROFILE" in error.resolution


class _Faulty(BaseHTTPRequestHandler):
    """Answers what the test says; may do what was asked for before it fails."""

    protocol_version = "HTTP/1.1"
    answers: list[tuple[int, str, bool]]
    kept: dict[str, tuple[bytes, str, dict[str, str]]]
    seen: list[str]
    cut = 0

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "list-type" in self.path:
            self._say(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        elif path in self.kept:
            content, etag, headers = self.kept[path]
            short = type(self).cut > 0
            type(self).cut -= 1
            length = {"Content-Length": str(len(content))}
            self._say(200, content[: len(content) // 2] if short else content, {"ETag": etag, **headers, **length})
            self.close_connection = short
        else:
            self._say(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append(self.path)
        status, code, does_it = self.answers.pop(0) if self.answers else (200, "", True)
        conditional = self.headers.get("If-None-Match") == "*" and self.path in self.kept
        if status == 200 and conditional:
            status, code, does_it = 412, "PreconditionFailed", False
        if does_it and not conditional:
            mark = {"x-amz-meta-writer": self.headers.get("x-amz-meta-writer", "")}
            self.kept[self.path] = (content, '"etag"', mark)
        if status == 0:
            self.close_connection = True
            return
        body = b"" if status == 200 else f"<Error><Code>{code}</Code><Message>told so</Message></Error>".encode()
        self._say(status, body, {"ETag": '"etag"'} if status == 200 else {})

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - so is its name
        """Keep quiet."""


@contextmanager
def faulty_store(
    *answers: tuple[int, str, bool], certificate: tuple[Path, Path] | None = None, cut: int = 0
) -> Iterator[tuple[str, type[_Faulty]]]:
    """A store that answers as told; ``cut`` contents break off half-way."""
    handler = type("Handler", (_Faulty,), {"answers": list(answers), "kept": {}, "seen": [], "cut": cut})
    with serving(handler, *(certificate or ())) as url:
        yield url, handler


@pytest.fixture
def objects_at(s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Objects]:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)

    def open_at(endpoint: str) -> S3Objects:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        objects = open_objects("states", "x/")
        objects.pause = lambda _seconds: None
        return objects

    return open_at


ANSWERS_LOST = [
    [(500, "InternalError", True)],
    [(0, "", True)],
    [(500, "InternalError", False), (503, "SlowDown", True)],
    [(500, "InternalError", True)] * 3,
    [(409, "ConditionalRequestConflict", False), (200, "", True)],
]


@pytest.mark.parametrize("answers", ANSWERS_LOST)
def test_a_write_whose_answer_was_lost_is_known_as_ones_own(
    objects_at: Callable[[str], S3Objects], answers: list[tuple[int, str, bool]]
) -> None:
    with faulty_store(*answers) as (endpoint, store):
        objects = objects_at(endpoint)
        assert objects.put_new("key", b"content") == '"etag"'
        assert store.kept["/states/x/key"][0] == b"content"
        assert objects.put_new("key", b"other") is None
        objects.client.close()


@pytest.mark.parametrize(
    ("answer", "told", "resolution"),
    [
        ((500, "InternalError", False), "InternalError", "wait if it is only busy"),
        ((503, "SlowDown", False), "SlowDown", "wait if it is only busy"),
        ((403, "AccessDenied", False), "AccessDenied", "s3:PutObject"),
        ((400, "ExpiredToken", False), "ExpiredToken", "Renew the keys"),
        ((403, "SignatureDoesNotMatch", False), "SignatureDoesNotMatch", "Renew the keys"),
        ((403, "RequestTimeTooSkewed", False), "RequestTimeTooSkewed", "clock right"),
        ((501, "NotImplemented", False), "NotImplemented", "conditional writes"),
        ((0, "", False), "Connection", "AWS_CA_BUNDLE"),
    ],
)
def test_a_write_that_is_refused_is_explained_and_not_repeated_for_ever(
    objects_at: Callable[[str], S3Objects], answer: tuple[int, str, bool], told: str, resolution: str
) -> None:
    with faulty_store(*[answer] * 20) as (endpoint, store):
        objects = objects_at(endpoint)
        with pytest.raises(StateError) as caught:
            objects.put_new("key", b"content")
        assert told in caught.value.detail
        assert "s3://states/x/key" in caught.value.detail
        assert resolution in caught.value.resolution
        assert caught.value.transient == (answer[0] in (0, 500, 501, 503))
        assert len(store.seen) <= 3
        assert store.kept == {}
        objects.client.close()


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_content_that_breaks_off_is_asked_for_again(objects_at: Callable[[str], S3Objects], cut: int) -> None:
    with faulty_store(cut=cut) as (endpoint, _):
        objects = objects_at(endpoint)
        objects.put("key", b"the whole content")
        if cut < 3:
            stored = objects.get("key")
            assert stored is not None
            assert stored.content == b"the whole content"
        else:
            with pytest.raises(StateError, match="cannot be read") as caught:
                objects.get("key")
            assert "network" in caught.value.resolution
        objects.client.close()


def test_a_store_has_to_show_who_it_is(
    objects_at: Callable[[str], S3Objects], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    with faulty_store(certificate=certificate) as (endpoint, _):
        unknown = objects_at(endpoint)
        with pytest.raises(StateError) as caught:
            unknown.put("key", b"content")
        assert "certificate" in caught.value.detail.lower()
        assert "AWS_CA_BUNDLE" in caught.value.resolution
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
        known = objects_at(endpoint)
        known.put("key", b"content")
        known.client.close()
        unknown.client.close()


def test_a_store_that_does_not_look_at_conditions_is_refused(url: str, open_place: Open, s3_client: Any) -> None:
    backend = open_place(url)
    lock = backend.shared_lock("demo")
    assert lock is not None
    real = lock._objects.client.put_object
    lock._objects.client.put_object = lambda **given: real(
        **{key: value for key, value in given.items() if key not in ("IfNoneMatch", "IfMatch")}
    )
    whole = lock_of("demo", backend)
    whole._shared = (lock,)
    with pytest.raises(StateError, match="cannot keep a state") as caught:
        whole.acquire("deploy apply")
    assert "If-None-Match" in caught.value.detail
    assert keys(s3_client, url) == []


# ----------------------------------------------------------------------------------------------------------------- lock

HOLDER = """
import subprocess, sys
from orchestrator.state.backend import lock_of, open_backend

lock = lock_of(sys.argv[1], open_backend()).acquire("deploy apply production.yaml", run="r1")
child = 0
if "child" in sys.argv:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(["sleep", "60"], pass_fds=lock.fds, start_new_session=True, **quiet).pid
print(child, flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


@contextmanager
def holding(url: str, home: Path, *words: str, deployment: str = "demo") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process of another host (a folder of its own) that holds the lock, and the child it started."""
    environment = {**os.environ, "DEPLOY_STATE": url, "DEPLOY_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, deployment, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    child = 0
    try:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        yield process, child
    finally:
        process.kill()
        process.communicate(timeout=10)
        if child:
            end(child)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z":
            pass
    except (ProcessLookupError, FileNotFoundError):
        return


def test_two_hosts_one_is_refused(url: str, open_place: Open, tmp_path: Path) -> None:
    with holding(url, tmp_path / "other-host") as (process, _):
        with pytest.raises(LockedError) as caught:
            lock_of("demo", open_place(url)).acquire("deploy apply")
        assert f"process {process.pid}" in caught.value.detail
        assert "deploy apply production.yaml" in caught.value.detail
        assert "deploy state unlock demo" in caught.value.resolution
        process.communicate("\n", timeout=20)
    with lock_of("demo", open_place(url)).acquire("deploy apply") as held:
        assert held.warnings == ()


@pytest.mark.parametrize("home", ["home", "other-home"])
def test_the_lock_of_a_process_that_was_killed_here_is_taken_over(
    url: str, open_place: Open, tmp_path: Path, home: str
) -> None:
    with holding(url, tmp_path / home, "child") as (process, child):
        process.kill()
        process.wait(timeout=10)
        with pytest.raises(LockedError):
            lock_of("demo", open_place(url)).acquire("deploy apply")
        end(child)
        with lock_of("demo", open_place(url)).acquire("deploy apply") as held:
            assert "was taken over" in held.warnings[0]
            assert str(process.pid) in held.warnings[0]


@pytest.mark.parametrize("difference", ["host", "namespace"])
def test_what_cannot_be_known_from_here_is_not_taken_over_but_can_be_unlocked(
    url: str, open_place: Open, tmp_path: Path, difference: str, s3_client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with holding(url, tmp_path / "home") as (process, _):
        process.kill()
    holder = json.loads(get(s3_client, url, "lock.json"))
    put(s3_client, url, "lock.json", json.dumps({**holder, difference: "another"}).encode())
    with pytest.raises(LockedError):
        lock_of("demo", open_place(url)).acquire("deploy apply")
    choose(url)
    assert main(["state", "unlock", "demo"]) == 2
    shown = capsys.readouterr().err
    assert f"process {process.pid}" in shown
    assert "deploy apply production.yaml" in shown
    assert main(["state", "unlock", "demo", "--auto-approve"]) == 0
    with lock_of("demo", open_place(url)).acquire("deploy apply") as held:
        assert held.warnings == ()


@pytest.mark.parametrize(
    ("change", "is_gone_for_certain"),
    [
        ({"boot": "before"}, True),
        ({"boot": "before", "machine": "another"}, False),
        ({"boot": "before", "machine": ""}, False),
        ({"boot": "before", "namespace": "4026532000"}, False),
        ({"boot": "before", "host": "another"}, False),
        ({"file": "/nowhere/lock"}, False),
    ],
)
def test_a_host_that_was_started_anew_has_no_run_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], is_gone_for_certain: bool
) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef\n", encoding="ascii")
    monkeypatch.setattr(lock, "_MACHINE", machine)
    monkeypatch.setattr(lock, "_namespace", lambda: lock._NO_CONTAINER)
    with lock.DeploymentLock(tmp_path / "demo").acquire("deploy apply") as held:
        holder = replace(held.holder, started="0", **change)
        assert lock.is_gone(holder, held.path) is is_gone_for_certain
        monkeypatch.setattr(lock, "_namespace", lambda: "4026532000")
        assert not lock.is_gone(replace(holder, namespace="4026532000", boot="before"), held.path)


def test_a_run_is_told_that_its_lock_was_taken_away(url: str, open_place: Open) -> None:
    backend = open_place(url)
    mine = lock_of("demo", backend).acquire("deploy apply")
    shared = open_place(url).shared_lock("demo")
    assert shared is not None
    holder = shared.read_holder()
    assert holder is not None
    shared.break_open(holder)
    with pytest.raises(StateError, match="taken away during this run"):
        mine.release()
    assert mine.fds == ()


def test_a_living_holder_of_this_host_is_not_unlocked(
    url: str, open_place: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(url)
    with holding(url, tmp_path / "other-home") as (process, _):
        assert main(["state", "unlock", "demo", "--auto-approve"]) == 1
        assert f"kill -INT {process.pid}" in capsys.readouterr().err


def test_a_step_after_the_lock_was_taken_away_is_refused(url: str, open_place: Open) -> None:
    mine = filled(open_place(url))
    theirs = DeploymentSession(open_place(url).state_store("demo"), "demo")
    theirs.record(instance(8))
    with pytest.raises(StateError, match="changed by somebody else"):
        mine.record(instance(9))
    with pytest.raises(StateError, match="changed by somebody else"):
        mine.snapshot()


def test_a_step_that_cannot_be_written_is_not_taken_for_written(
    url: str, open_place: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    session = filled(open_place(url))
    before = session.state
    client = session._store._storage._objects.client  # type: ignore[attr-defined]
    real = client.put_object
    with faulty_store(*[(503, "SlowDown", False)] * 20) as (endpoint, _):
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            faulty = open_objects("states", "x/").client
        client.put_object = faulty.put_object
        with pytest.raises(StateError, match="cannot be written"):
            session.record(instance(9))
        faulty.close()
    client.put_object = real
    assert session.state == before
    assert open_place(url).state_store("demo").load() == before
    session.record(instance(9))
    assert open_place(url).state_store("demo").load() == session.state


def test_a_damaged_state_is_mended_by_pushing_one_that_was_pulled(
    url: str, open_place: Open, s3_client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(url)
    session = filled(open_place(url))
    assert main(["state", "pull"]) == 0
    file = tmp_path / "state.json"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    session.record(instance(8))
    put(s3_client, url, "journal/000000000006.jsonl", b"nonsense\n")
    for command in (["state", "list"], ["state", "push", str(file), "--auto-approve"]):
        assert main(command) == 1
        assert "journal/000000000006.jsonl" in capsys.readouterr().err
    assert main(["state", "list", "--all", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["deployments"]
    assert "journal/000000000006.jsonl" in listed["problem"]
    assert main(["state", "push", str(file), "--auto-approve", "--force"]) == 0
    state = open_place(url).state_store("demo").load()
    assert state is not None
    assert set(state.instances) == {"edge[0]", "edge[1]"}


def test_several_steps_are_one_object(url: str, open_place: Open, s3_client: Any) -> None:
    session = filled(open_place(url))
    store = open_place(url).state_store("demo")
    store.append(entries(session.state, instance(5), replace(instance(6), provider="")))
    assert get(s3_client, url, "journal/000000000008.jsonl").count(b"\n") == 2
