"""Scripts that the stand-in runs when an object arrives."""

import io
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("needs_chroot")

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"'


def service(script: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "copy",
        "image": "example/shell:1",
        "script": script,
        "input": [{"storage_provider": "minio", "path": "copy/input"}],
        "output": [{"storage_provider": "minio", "path": "copy/output"}],
        **changes,
    }


def wait_for(store: Any, key: str, bucket: str = "copy", seconds: float = 20) -> bytes:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if key in store.list(bucket):
            return store.get(bucket, key)
        time.sleep(0.05)
    raise AssertionError(f"{key} did not arrive; there is: {store.list(bucket)}")


def wait_for_status(standin: Any, status: str, name: str = "copy", seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    jobs: dict[str, Any] = {}
    while time.monotonic() < deadline:
        jobs = standin.client().read_jobs(name)
        for job, record in jobs.items():
            if record["status"] == status:
                return str(standin.client().read_log(name, job))
        time.sleep(0.05)
    raise AssertionError(f"no job is {status}: {jobs}")


def test_an_object_runs_the_script_with_oscars_environment(standin: Any, make_archive: Callable[..., None]) -> None:
    make_archive(standin.images / "shell.tar", "example/shell:1")
    script = (
        'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"; cd "$TMP_OUTPUT_DIR"; echo "$GREETING $FROM_IMAGE" > greeting; '
        'echo "$STORAGE_OBJECT_KEY" > key; id -u > user; ls / > root; echo said'
    )
    environment = {"Variables": {"GREETING": "hello"}}
    standin.client().put_service(service(script, environment=environment))
    with standin.store() as store:
        store.put("copy", "input/people.png", b"picture")
        assert wait_for(store, "output/user").strip() == b"65534"
        assert wait_for(store, "output/people.png") == b"picture"
        assert wait_for(store, "output/greeting") == b"hello yes\n"
        assert wait_for(store, "output/key") == b"input/people.png\n"
        assert b"home" not in wait_for(store, "output/root")
    assert "said" in wait_for_status(standin, "Succeeded")


def test_filters_choose_what_is_stored_where(standin: Any, make_archive: Callable[..., None]) -> None:
    make_archive(standin.images / "shell.tar", "example/shell:1")
    outputs = [
        {"storage_provider": "minio", "path": "copy/output", "suffix": ["_NO_DRIFT"]},
        {"storage_provider": "minio", "path": "copy/drift", "suffix": ["_DRIFTED"]},
    ]
    script = 'cd "$TMP_OUTPUT_DIR"; echo 1 > a_NO_DRIFT; echo 2 > a_DRIFTED; echo 3 > neither'
    standin.client().put_service(service(script, output=outputs))
    with standin.store() as store:
        store.put("copy", "input/a", b"")
        wait_for(store, "drift/a_DRIFTED")
        wait_for_status(standin, "Succeeded")
        assert set(store.list("copy")) == {"input/a", "output/a_NO_DRIFT", "drift/a_DRIFTED"}


def test_results_go_to_the_next_cluster_and_start_the_next_service(
    make_standin: Callable[..., Any], make_archive: Callable[..., None]
) -> None:
    edge, cloud = make_standin("edge"), make_standin("cloud")
    for standin in (edge, cloud):
        make_archive(standin.images / "shell.tar", "example/shell:1")
    cloud.client().put_service(
        service('echo "second" > "$TMP_OUTPUT_DIR/end"', input=[{"storage_provider": "minio", "path": "edge/output"}])
    )
    provider = {
        "endpoint": cloud.store_endpoint,
        "verify": True,
        "access_key": "minio",
        "secret_key": cloud.config["secret_key"],
        "region": "us-east-1",
        "ca_cert": cloud.ca_cert,
    }
    outputs = [{"storage_provider": "minio.cloud", "path": "edge/output"}]
    edge.client().put_service(service(COPY, output=outputs, storage_providers={"minio": {"cloud": provider}}))
    with edge.store() as near, cloud.store() as far:
        near.put("copy", "input/a b.txt", b"one")
        assert wait_for(far, "output/a b.txt", "edge") == b"one"
        assert wait_for(far, "output/end") == b"second\n"


def test_a_failing_script_is_tried_again_and_told(standin: Any, make_archive: Callable[..., None]) -> None:
    make_archive(standin.images / "shell.tar", "example/shell:1")
    standin.client().put_service(service("echo broken >&2; exit 3"))
    with standin.store() as store:
        store.put("copy", "input/a", b"")
    log = wait_for_status(standin, "Failed")
    assert log.count("broken") == 3
    assert "status 3" in log
    assert not list((standin.folder / "state" / "events").glob("*.json"))


def test_a_script_that_hangs_is_stopped(make_standin: Callable[..., Any], make_archive: Callable[..., None]) -> None:
    standin = make_standin(job_timeout=0.5, event_attempts=1)
    make_archive(standin.images / "shell.tar", "example/shell:1")
    standin.client().put_service(service("sleep 60 & sleep 60"))
    with standin.store() as store:
        store.put("copy", "input/a", b"")
    assert "stopped after" in wait_for_status(standin, "Failed", seconds=8)


def test_an_image_that_comes_late_is_waited_for(
    make_standin: Callable[..., Any], make_archive: Callable[..., None]
) -> None:
    standin = make_standin(backoff=0.5, event_attempts=6)
    standin.client().put_service(service(COPY))
    with standin.store() as store:
        store.put("copy", "input/a", b"one")
        time.sleep(0.3)
        make_archive(standin.images / "shell.tar", "docker.io/example/shell:1")
        assert wait_for(store, "output/a") == b"one"


def test_an_event_survives_a_kill(make_standin: Callable[..., Any], make_archive: Callable[..., None]) -> None:
    standin = make_standin()
    make_archive(standin.images / "shell.tar", "example/shell:1")
    standin.client().put_service(service(f"sleep 1; {COPY}"))
    with standin.store() as store:
        store.put("copy", "input/a", b"one")
        wait_for_status(standin, "Running")
        standin.stop(kill=True)
        standin.start()
        assert wait_for(store, "output/a") == b"one"


def test_layers_remove_what_they_say(standin: Any, make_archive: Callable[..., None]) -> None:
    make_archive(
        standin.images / "shell.tar",
        "example/shell:1",
        _layer({"opt/gone": b"x", "opt/kept": b"old", "srv/old": b"x"}),
        _layer({"opt/.wh.gone": b"", "opt/kept": b"new", "srv/.wh..wh..opq": b"", "srv/new": b"x"}),
    )
    standin.client().put_service(service('cd "$TMP_OUTPUT_DIR"; ls /opt > opt; ls /srv > srv; cp /opt/kept kept'))
    with standin.store() as store:
        store.put("copy", "input/a", b"")
        assert wait_for(store, "output/srv") == b"new\n"
        assert wait_for(store, "output/opt") == b"kept\n"
        assert wait_for(store, "output/kept") == b"new"


def test_a_layer_cannot_write_outside_its_image(standin: Any, make_archive: Callable[..., None]) -> None:
    outside = standin.folder / "outside"
    outside.mkdir()
    escaping = _layer({"../../../../escape": b"x"}, links={"opt": str(outside)})
    make_archive(standin.images / "shell.tar", "example/shell:1", escaping, _layer({"opt/file": b"x"}))
    standin.client().put_service(service(COPY))
    with standin.store() as store:
        store.put("copy", "input/a", b"one")
        assert wait_for(store, "output/a") == b"one"
    assert list(outside.iterdir()) == []


def test_a_script_cannot_hand_out_files_of_the_machine(standin: Any, make_archive: Callable[..., None]) -> None:
    make_archive(standin.images / "shell.tar", "example/shell:1")
    standin.client().put_service(service('cd "$TMP_OUTPUT_DIR"; ln -s /etc/shadow stolen; echo 1 > mine'))
    with standin.store() as store:
        store.put("copy", "input/a", b"")
        wait_for(store, "output/mine")
        wait_for_status(standin, "Succeeded")
        assert "output/stolen" not in store.list("copy")


def test_calls_without_an_object(standin: Any, make_archive: Callable[..., None]) -> None:
    import base64

    make_archive(standin.images / "shell.tar", "example/shell:1")
    client = standin.client()
    client.put_service(service('cat "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/result"'))
    assert base64.b64decode(client._call("POST", "/run/copy", (200,), b"now")[1]) == b"now"
    client._call("POST", "/job/copy", (201,), b"later")
    with standin.store() as store:
        assert wait_for(store, "output/result") == b"later"
    client._call("POST", "/job/unknown", (404,), b"")


def _layer(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            layer.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            layer.addfile(member, io.BytesIO(content))
    return packed.getvalue()
