"""Services registered by the executor on two clusters, and files sent through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from orchestrator.clients.oscar import OscarUnreachableError
from orchestrator.errors import OperationError, UsageError
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.oscar_service import OscarServiceExecutor
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Presence
from orchestrator.providers.base import DeploymentTag
from orchestrator.services.invoke import invoke
from orchestrator.state.model import InstanceRecord, State
from tests.secrets_in_memory import memory_secrets

SERVICE_TYPE = "continuum.nodes.OscarService"
CHAIN = {"first": ["second"], "second": []}


class World:
    """Two clusters and two services, the first of which sends to the second."""

    def __init__(self, make_standin: Callable[..., Any], folder: Path, scripts: dict[str, str]) -> None:
        self.folder = folder
        self.standins = {"first": make_standin("edge"), "second": make_standin("cloud")}
        self.secrets = memory_secrets()
        self.records: dict[str, InstanceRecord] = {}
        self.desired: dict[str, DesiredInstance] = {}
        for component, standin in self.standins.items():
            self.add_host(component, standin)
            self.add_service(component, scripts[component])

    def add_host(self, component: str, standin: Any) -> None:
        name = f"{component}-oscar"
        self.secrets.put(f"{name}-password", standin.config["password"])
        self.secrets.put(f"{name}-store-key", standin.config["secret_key"])
        self.records[name] = InstanceRecord(
            name,
            name,
            "continuum.nodes.Oscar",
            inputs={
                "properties.password": f"secret:{name}-password",
                "properties.store_secret_key": f"secret:{name}-store-key",
                "properties.cluster_name": f"{component}-cluster",
            },
            attributes={
                "endpoint": standin.endpoint,
                "store_endpoint": standin.store_endpoint,
                "ca_cert": standin.ca_cert,
                "user": "oscar",
                "access_key": "minio",
            },
        )
        image = f"{component}-image"
        attributes = {"reference": "example/shell:1", "digest": "sha256:1"}
        self.records[image] = InstanceRecord(image, image, "continuum.nodes.ComponentImage", attributes=attributes)

    def add_service(self, component: str, script: str) -> None:
        self.desired[component] = DesiredInstance(
            address=component,
            node=component,
            type=SERVICE_TYPE,
            properties={
                "service": component,
                "component": component,
                "layer": 1,
                "memory_mb": 512,
                "cpu": 0.9,
                "script": script,
                "input_path": "first/input" if component == "first" else "first/output",
                "output_path": f"{component}/output",
                "environment": {"COMPONENT_NAME": component, "NUMBER": 3},
            },
            requirements={
                "host": (f"{component}-oscar",),
                "image": (f"{component}-image",),
                "connects_to": tuple(CHAIN[component]),
            },
        )

    def request(self, component: str, operation: str = "configure") -> OperationRequest:
        instance = self.desired[component]
        return OperationRequest(
            tag=DeploymentTag("test", "lineage"),
            action=Action.CREATE,
            operation=operation,
            implementation=Operation(operation, "continuum.artifacts.OscarService", "service"),
            instance=instance,
            record=self.records.get(component, InstanceRecord(component, component, SERVICE_TYPE)),
            known=self.records,
            desired={},
            folders=Folders(self.folder, self.folder, self.folder, self.folder),
            secrets=self.secrets,
            progress=lambda _line: None,
            cancel=Event(),
        )

    def configure(self, component: str) -> None:
        result = OscarServiceExecutor().run(self.request(component))
        instance = self.desired[component]
        self.records[component] = InstanceRecord(
            component, component, SERVICE_TYPE, inputs=instance.inputs, attributes=result.attributes
        )

    @property
    def state(self) -> State:
        return State("test", "lineage", instances=self.records)

    def look(self, component: str) -> Presence:
        return OscarServiceExecutor().observe(self.request(component)).presence


@pytest.fixture
def make_world(
    make_standin: Callable[..., Any], make_archive: Callable[..., None], tmp_path: Path
) -> Callable[..., World]:
    def make(first: str = "", second: str = "") -> World:
        copy = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"'
        world = World(make_standin, tmp_path, {"first": first or copy, "second": second or copy})
        for component in ("second", "first"):
            make_archive(world.standins[component].images / "shell.tar", "example/shell:1")
            world.configure(component)
        return world

    return make


def test_services_are_wired_to_the_next_store(make_world: Callable[..., World]) -> None:
    world = make_world()
    edge, cloud = world.standins["first"], world.standins["second"]
    service: Any = edge.client().read_service("first")
    assert service["memory"] == "512Mi"
    assert service["cpu"] == "0.9"
    assert service["environment"]["Variables"] == {"COMPONENT_NAME": "first", "NUMBER": "3"}
    assert service["output"] == [{"storage_provider": "minio.second-cluster", "path": "first/output"}]
    assert service["storage_providers"]["minio"]["second-cluster"]["endpoint"] == cloud.store_endpoint
    last: Any = cloud.client().read_service("second")
    assert last["output"] == [{"storage_provider": "minio", "path": "second/output"}]
    assert world.records["first"].attributes["outputs"] == [{"store": cloud.store_endpoint, "path": "first/output"}]
    assert world.records["second"].attributes["inputs"] == [{"store": cloud.store_endpoint, "path": "first/output"}]
    for secret in (cloud.config["secret_key"], edge.config["password"]):
        assert str(secret) not in str(world.records["first"].attributes)


def test_configuring_again_replaces(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.desired["first"] = replace(
        world.desired["first"], properties={**world.desired["first"].properties, "memory_mb": 1024}
    )
    world.configure("first")
    assert (world.standins["first"].client().read_service("first") or {})["memory"] == "1024Mi"


def test_what_is_seen(make_world: Callable[..., World]) -> None:
    world = make_world()
    assert world.look("first") is Presence.PRESENT
    image = world.records["first-image"]
    world.records["first-image"] = replace(image, attributes={**image.attributes, "reference": "example/shell:2"})
    assert world.look("first") is Presence.DEGRADED
    world.records["first-image"] = image

    host = world.records["second-oscar"]
    world.records["second-oscar"] = replace(host, attributes={**host.attributes, "ca_cert": ""})
    assert world.look("first") is Presence.DEGRADED
    world.records["second-oscar"] = host

    world.standins["first"].client().delete_service("first")
    assert world.look("first") is Presence.MISSING
    world.configure("first")
    world.standins["second"].stop()
    assert world.look("second") is Presence.DEGRADED
    assert world.look("first") is Presence.DEGRADED


def test_removing_twice(make_world: Callable[..., World]) -> None:
    world = make_world()
    executor = OscarServiceExecutor()
    assert executor.run(world.request("first", "delete")).changed
    assert not executor.run(world.request("first", "delete")).changed
    world.standins["second"].stop()
    with pytest.raises(OscarUnreachableError):
        executor.run(world.request("second", "delete"))


def test_a_missing_secret_is_told_by_name(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.secrets = memory_secrets({"first-oscar-store-key": "x" * 8})
    with pytest.raises(OperationError, match="first-oscar-password"):
        OscarServiceExecutor().run(world.request("first"))


@pytest.mark.usefixtures("needs_chroot")
def test_a_file_goes_through(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world()
    file = tmp_path / "a picture.txt"
    file.write_bytes(b"content")
    out = tmp_path / "result.txt"
    assert invoke(world.state, world.secrets, "first", file, out, 30) == [out]
    assert out.read_bytes() == b"content"
    # From the second component on, into a folder that is there.
    folder = tmp_path / "folder"
    folder.mkdir()
    assert invoke(world.state, world.secrets, "second", file, folder, 30) == [folder / "a_picture.txt"]


@pytest.mark.usefixtures("needs_chroot")
def test_several_results_become_a_folder(make_world: Callable[..., World], tmp_path: Path) -> None:
    name = 'name=$INPUT_FILE_PATH; name=${name##*/}; cd "$TMP_OUTPUT_DIR"'
    world = make_world(second=f'{name}; echo 1 > "$name-1"; sleep 1; echo 2 > "$name-2"')
    file = tmp_path / "a"
    file.write_bytes(b"")
    written = invoke(world.state, world.secrets, "first", file, tmp_path / "out", 30)
    assert written == [tmp_path / "out" / "a-1", tmp_path / "out" / "a-2"]


@pytest.mark.usefixtures("needs_chroot")
def test_a_failing_component_is_named_with_its_log(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(second="echo this picture is upside down >&2; exit 1")
    file = tmp_path / "a"
    file.write_bytes(b"")
    with pytest.raises(OperationError, match="A component failed") as caught:
        invoke(world.state, world.secrets, "first", file, tmp_path / "out", 30)
    assert "second failed" in caught.value.detail
    assert "upside down" in caught.value.detail


@pytest.mark.usefixtures("needs_chroot")
def test_no_result_in_time_shows_the_logs(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world(second="echo nothing to say")
    file = tmp_path / "a"
    file.write_bytes(b"")
    with pytest.raises(OperationError, match="No result") as caught:
        invoke(world.state, world.secrets, "first", file, tmp_path / "out", 4)
    assert "nothing to say" in caught.value.detail


def test_wrong_names_are_usage_errors(make_world: Callable[..., World], tmp_path: Path) -> None:
    world = make_world()
    with pytest.raises(UsageError, match="first, second"):
        invoke(world.state, world.secrets, "third", tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="no such file"):
        invoke(world.state, world.secrets, "first", tmp_path / "absent", tmp_path / "out")
