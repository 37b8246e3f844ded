"""Component images built on a real engine, and a picture through both of the example's components."""

import gc
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from orchestrator.errors import OperationError
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Presence
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.source_digest import source_digest
from tests.secrets_in_memory import memory_secrets

pytestmark = [
    pytest.mark.engine,
    # The engine's client leaves the connection of a command that ran in a container to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

EXAMPLE = Path(__file__).parents[3] / "examples" / "mask-detection"
NODE_TYPE = "continuum.nodes.ComponentImage"


def request_for(
    tmp_path: Path, component: str, source: Path | None, operation: str = "create", **settings: Any
) -> OperationRequest:
    artifacts = {"source": source.name} if source else {}
    digest = source_digest(source) if source else ""
    instance = DesiredInstance(
        address=f"{component}-image",
        node=f"{component}-image",
        type=NODE_TYPE,
        properties={"component": component, "image": f"registry.example.org/{component}:1", "source_digest": digest},
        settings=settings,
        artifacts=artifacts,
    )
    application = source.parent if source else tmp_path
    return OperationRequest(
        tag=DeploymentTag("test", "lineage"),
        action=Action.CREATE,
        operation=operation,
        implementation=Operation(operation, "continuum.artifacts.ImageBuild", "image"),
        instance=instance,
        record=InstanceRecord(instance.address, instance.node, NODE_TYPE),
        known={},
        desired={},
        folders=Folders(tmp_path, tmp_path, application, tmp_path / "cache"),
        secrets=memory_secrets(),
        progress=lambda _line: None,
        cancel=Event(),
    )


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What is left to the collector is collected here, and not in another test that would be blamed for it."""
    yield
    gc.collect()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A component whose program needs nothing but Python."""
    folder = tmp_path / "src" / "Echo_1"
    (folder / "parts").mkdir(parents=True)
    (folder / "main.py").write_text("import sys, pathlib\npathlib.Path(sys.argv[4], 'out').write_text('done')\n")
    (folder / "parts" / "data.txt").write_text("x")
    (folder / "env.yaml").write_text('GREETING: "it\'s \\"me\\""\nNUMBER: 3\n')
    return folder


def run_in(reference: str, *command: str) -> str:
    from orchestrator.clients.engine import connect

    container = connect().containers.create(reference, list(command), user="65534:65534", network_mode="none")
    try:
        container.start()
        container.wait(timeout=60)
        return str(container.logs().decode())
    finally:
        container.remove(force=True)


def test_an_image_is_built_once_saved_observed_and_removed(tmp_path: Path, source: Path) -> None:
    from orchestrator.clients.engine import connect
    from orchestrator.executors.image import ImageExecutor
    from orchestrator.images.build_container import find_image

    executor = ImageExecutor()
    request = request_for(tmp_path, "Echo_1", source)
    made = executor.run(request).attributes
    assert str(made["reference"]).startswith("continuum-deploy/echo-1:")
    archive = tmp_path / "cache" / str(made["archive"])
    assert archive.is_file()
    written = archive.stat().st_mtime_ns
    said: list[str] = []
    assert executor.run(replace(request, progress=said.append)).attributes == made
    assert said == []
    assert archive.stat().st_mtime_ns == written

    out = run_in(str(made["reference"]), "sh", "-c", 'echo "$GREETING $NUMBER"; cat /opt/Echo_1/parts/data.txt')
    assert out == 'it\'s "me" 3\nx'
    script = "TMP_OUTPUT_DIR=/tmp INPUT_FILE_PATH=/etc/hostname /opt/Echo_1/script.sh && cat /tmp/out"
    assert run_in(str(made["reference"]), "sh", "-c", script) == "done"

    record = replace(request.record, attributes=made)
    assert executor.observe(replace(request, record=record)).presence is Presence.PRESENT
    removal = replace(request, operation="delete", record=record)
    assert executor.run(removal).changed
    assert not archive.exists()
    assert find_image(connect(), str(made["reference"])) is None
    assert executor.observe(replace(request, record=record)).presence is Presence.MISSING


def test_an_archive_stays_while_another_deployment_uses_it(tmp_path: Path, source: Path) -> None:
    from orchestrator.executors.image import ImageExecutor

    executor = ImageExecutor()
    first = request_for(tmp_path, "Echo_1", source)
    second = replace(first, tag=DeploymentTag("other", "another-lineage"))
    made = executor.run(first).attributes
    assert executor.run(second).attributes == made
    record = replace(first.record, attributes=made)
    executor.run(replace(first, operation="delete", record=record))
    assert executor.observe(replace(second, record=record)).presence is Presence.PRESENT
    executor.run(replace(second, operation="delete", record=record))
    assert not (tmp_path / "cache" / str(made["archive"])).exists()
    assert executor.observe(replace(second, record=record)).presence is Presence.MISSING


def test_the_image_stays_while_a_deployment_with_another_cache_uses_it(tmp_path: Path, source: Path) -> None:
    from orchestrator.executors.image import ImageExecutor

    executor = ImageExecutor()
    first = request_for(tmp_path, "Echo_1", source)
    second = replace(first, tag=DeploymentTag("other", "x"), folders=replace(first.folders, cache=tmp_path / "second"))
    records = [replace(r.record, attributes=executor.run(r).attributes) for r in (first, second)]
    executor.run(replace(first, operation="delete", record=records[0]))
    assert not (tmp_path / "cache" / str(records[0].attributes["archive"])).exists()
    assert executor.observe(replace(second, record=records[1])).presence is Presence.PRESENT
    executor.run(replace(second, operation="delete", record=records[1]))
    assert executor.observe(replace(second, record=records[1])).presence is Presence.MISSING


def test_an_archive_that_is_not_in_this_working_folder_is_saved_again_when_it_is_needed(
    tmp_path: Path, source: Path
) -> None:
    from orchestrator.executors.image import ImageExecutor, restore_archives

    executor = ImageExecutor()
    first = request_for(tmp_path, "Echo_1", source)
    made = executor.run(first).attributes
    record = replace(first.record, attributes=made)
    elsewhere = replace(first, record=record, folders=replace(first.folders, cache=tmp_path / "second"))
    archive = tmp_path / "second" / str(made["archive"])
    assert executor.observe(elsewhere).presence is Presence.PRESENT
    service = DesiredInstance("service", "service", "Service", requirements={"image": (record.address,)})
    needing = replace(elsewhere, instance=service, known={record.address: record})
    restore_archives(needing)
    assert archive.read_bytes() == (tmp_path / "cache" / str(made["archive"])).read_bytes()
    executor.run(replace(elsewhere, operation="delete"))
    assert not archive.exists(), "it is this deployment's, and goes with its image"
    with pytest.raises(OperationError, match="gone") as caught:
        restore_archives(needing)
    assert f"--replace {record.address}" in caught.value.resolution
    executor.run(replace(first, operation="delete", record=record))


def test_sources_that_changed_since_the_plan_are_refused(tmp_path: Path, source: Path) -> None:
    from orchestrator.executors.image import ImageExecutor

    request = request_for(tmp_path, "Echo_1", source)
    (source / "main.py").write_text("print()\n")
    with pytest.raises(OperationError, match="changed"):
        ImageExecutor().run(request)


def test_a_program_with_a_syntax_error_is_found_by_the_build(tmp_path: Path, source: Path) -> None:
    from orchestrator.errors import ProviderError
    from orchestrator.executors.image import ImageExecutor

    (source / "main.py").write_text("def broken(:\n")
    with pytest.raises(ProviderError, match="could not be built") as caught:
        ImageExecutor().run(request_for(tmp_path, "Echo_1", source))
    assert "broken" in caught.value.detail


def test_an_image_that_cannot_be_had_is_refused_or_passes_its_input_on(tmp_path: Path) -> None:
    from orchestrator.executors.image import ImageExecutor

    with pytest.raises(OperationError, match="cannot be had"):
        ImageExecutor().run(request_for(tmp_path, "absent", None))
    request = request_for(tmp_path, "absent", None, pass_through=True)
    made = ImageExecutor().run(request).attributes
    script = "mkdir /tmp/o; TMP_OUTPUT_DIR=/tmp/o INPUT_FILE_PATH=/etc/debian_version /opt/absent/script.sh; ls /tmp/o"
    assert run_in(str(made["reference"]), "sh", "-c", script) == "debian_version\n"
    ImageExecutor().run(replace(request, operation="delete", record=replace(request.record, attributes=made)))


def test_a_picture_goes_through_both_components(
    tmp_path: Path, make_standin: Callable[..., Any], needs_chroot: None
) -> None:
    from orchestrator.executors.image import ImageExecutor

    standin = make_standin("both")
    made = {}
    for component in ("blurry-faces", "mask-detector"):
        made[component] = ImageExecutor().run(request_for(tmp_path, component, EXAMPLE / "src" / component)).attributes
        archive = tmp_path / "cache" / str(made[component]["archive"])
        archive.rename(standin.images / f"{component}.tar")
    paths = {"blurry-faces": ("blurry-faces/input", "blurry-faces/output")}
    paths["mask-detector"] = ("blurry-faces/output", "mask-detector/output")
    for component, (source_path, target_path) in paths.items():
        standin.client().put_service(
            {
                "name": component,
                "image": made[component]["reference"],
                "script": f"/opt/{component}/script.sh",
                "input": [{"storage_provider": "minio", "path": source_path}],
                "output": [{"storage_provider": "minio", "path": target_path}],
            }
        )
    picture = tmp_path / "people.png"
    command = [sys.executable, str(EXAMPLE / "make_picture.py"), str(picture), "--people", "5", "--masked", "3"]
    subprocess.run(command, check=True, timeout=60)
    with standin.store() as store:
        store.put("blurry-faces", "input/people.png", picture.read_bytes())
        result = json.loads(wait_for(standin, store, "output/people-masks.json", "mask-detector"))
    assert (result["faces"], result["masked"]) == (5, 3)
    # pytest keeps its folders; the images and what was unpacked of them are large.
    standin.stop()
    shutil.rmtree(standin.folder)
    for component, attributes in made.items():
        request = request_for(tmp_path, component, EXAMPLE / "src" / component, "delete")
        ImageExecutor().run(replace(request, record=replace(request.record, attributes=attributes)))


def wait_for(standin: Any, store: Any, key: str, bucket: str) -> bytes:
    module = importlib.util.spec_from_file_location("jobs", Path(__file__).parent / "test_standin_jobs.py")
    assert module is not None
    assert module.loader is not None
    jobs = importlib.util.module_from_spec(module)
    module.loader.exec_module(jobs)
    try:
        return bytes(jobs.wait_for(store, key, bucket, 60))
    except AssertionError as error:
        client = standin.client()
        logs = [client.read_log(s, j) for s in ("blurry-faces", "mask-detector") for j in client.read_jobs(s)]
        raise AssertionError(f"{error}\n" + "\n".join(logs)) from error


def test_an_image_that_was_built_before_is_used_again_though_its_sources_are_others_now(
    tmp_path: Path, source: Path
) -> None:
    """As a rollback asks for it; and when the instance goes, its earlier images go with it."""
    from orchestrator.clients.engine import connect
    from orchestrator.executors.image import ImageExecutor
    from orchestrator.images.build_container import find_image

    executor = ImageExecutor()
    then = request_for(tmp_path, "Echo_1", source)
    first = executor.run(then).attributes
    (source / "main.py").write_text("print('another one')\n")
    now = request_for(tmp_path, "Echo_1", source)
    second = executor.run(now).attributes
    assert second["digest"] != first["digest"]

    assert executor.run(then).attributes == first
    shutil.rmtree(source)
    assert executor.run(then).attributes == first

    record = replace(then.record, attributes=first)
    gone = replace(then, operation="delete", record=record)
    executor.run(gone)
    assert find_image(connect(), str(first["reference"])) is None
    assert find_image(connect(), str(second["reference"])) is None
    assert not list((tmp_path / "cache" / "images").iterdir())
