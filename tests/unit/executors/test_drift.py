"""What executors tell of things that are other than they were made."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any, cast

import pytest

from orchestrator.errors import ProviderError
from orchestrator.executors import compute
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.compute import MachineExecutor, mended
from orchestrator.executors.oscar_service import build_service, service_differences
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.drift import in_words
from orchestrator.planning.observation import Presence
from orchestrator.planning.records import instance_of_record
from orchestrator.providers.base import DeploymentTag, Machine, MachineProvider, MachineState
from orchestrator.state.model import InstanceRecord, Lifecycle

IMAGE = InstanceRecord("image", "image", "T", attributes={"reference": "ours/blur:1", "digest": "sha256:1"})
SERVICE = InstanceRecord(
    "service",
    "service",
    "T",
    lifecycle=Lifecycle.STARTED,
    inputs={
        "properties.service": "blur",
        "properties.script": "#!/bin/sh\n",
        "properties.memory_mb": 512,
        "properties.cpu": 0.5,
        "properties.input_path": "blur/in",
        "properties.more_input_paths": ["blur/more"],
        "properties.output_path": "blur/out",
        "properties.environment": {"MODE": "fast", "DEBUG": True, "PASSWORD": "secret:database"},
        "requirements.image": ["image"],
    },
)
MACHINE = InstanceRecord(
    "edge[0]",
    "edge",
    "T",
    provider="local",
    lifecycle=Lifecycle.STARTED,
    attributes={
        "machine_id": "c1",
        "host": "192.0.2.1",
        "port": 22,
        "user": "root",
        "host_key": "ssh-ed25519 A",
        "memory_mb": 512,
        "cpus": 2,
        "networks": {"own": "192.0.2.1"},
    },
)


def request_of(record: InstanceRecord, wanted: DesiredInstance | None = None) -> OperationRequest:
    here = Path()
    return OperationRequest(
        tag=DeploymentTag("demo", "lineage"),
        action=Action.READ,
        operation="create",
        implementation=Operation("create", "fake", "x"),
        instance=wanted or instance_of_record(record),
        record=record,
        known={"image": IMAGE, record.address: record},
        desired={},
        folders=Folders(here, here, here, here),
        secrets=None,  # type: ignore[arg-type]
        progress=lambda _line: None,
        cancel=Event(),
    )


def registered() -> dict[str, Any]:
    """The service as OSCAR gives it back, with what it adds itself."""
    properties = {k.removeprefix("properties."): v for k, v in SERVICE.inputs.items()}
    return {**build_service(properties, "ours/blur:1", ()), "token": "x", "log_level": "INFO"}


def test_what_was_registered_is_no_drift() -> None:
    assert service_differences(request_of(SERVICE), registered()) == ()


@pytest.mark.parametrize("same", [{"memory": "0.5Gi"}, {"cpu": "500m"}, {"memory": str(512 * 2**20)}])
def test_another_way_to_write_it_is_no_drift(same: dict[str, str]) -> None:
    assert service_differences(request_of(SERVICE), {**registered(), **same}) == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"memory": "1Gi"}, "memory_mb is 1024 instead of 512"),
        ({"cpu": "1"}, "cpu is 1.0 instead of 0.5"),
        ({"image": "other"}, "image is other instead of ours/blur:1"),
        ({"script": "#!/bin/false\n"}, "script is #!/bin/false\n instead of #!/bin/sh\n"),
        ({"enable_gpu": True}, "gpu is True instead of False"),
        ({"input": []}, "input_path is not there (was blur/in, blur/more)"),
        (
            {"output": [{"storage_provider": "minio", "path": "else"}]},
            "output_path is else instead of blur/out",
        ),
        (
            {"environment": {"Variables": {"MODE": "slow", "PASSWORD": "other"}}},
            "environment.MODE is slow instead of fast; environment.DEBUG is not there (was true)",
        ),
    ],
)
def test_every_property_is_told_by_its_name(changed: dict[str, Any], words: str) -> None:
    assert in_words(service_differences(request_of(SERVICE), {**registered(), **changed})) == words


def test_what_is_wanted_otherwise_is_no_drift() -> None:
    """A change of the input is a reason of its own; what is found is as it was made."""
    wanted = DesiredInstance(
        "service",
        "service",
        "T",
        properties={"service": "blur", "memory_mb": 1024},
        requirements={"image": ("image",)},
    )
    assert service_differences(request_of(SERVICE, wanted), registered()) == ()


SETUP: dict[str, Any] = {"memory_mb": 512, "cpus": 2, "networks": {"own": "192.0.2.1"}}


def machine(
    state: MachineState = MachineState.RUNNING, host: str = "192.0.2.1", setup: Mapping[str, Any] | None = None
) -> Machine:
    return Machine("c1", "edge[0]", "t", state, host, 22, "root", "ssh-ed25519 A", {**SETUP, **(setup or {})})


@pytest.mark.parametrize(
    ("found", "presence", "detail"),
    [
        (machine(), Presence.PRESENT, "running"),
        (machine(host="192.0.2.9"), Presence.DEGRADED, "host is 192.0.2.9 instead of 192.0.2.1"),
        (machine(MachineState.STOPPED), Presence.DEGRADED, "the machine is stopped"),
        (
            machine(MachineState.PAUSED, setup={"cpus": 1.5}),
            Presence.DEGRADED,
            "the machine is paused; cpus is 1.5 instead of 2",
        ),
        (machine(setup={"memory_mb": 256}), Presence.DEGRADED, "memory_mb is 256 instead of 512"),
        (machine(setup={"memory_mb": None}), Presence.DEGRADED, "memory_mb is not there (was 512)"),
        (
            machine(setup={"networks": {"other": "198.51.100.7"}}),
            Presence.DEGRADED,
            "networks.own is not there (was 192.0.2.1); networks.other is there (198.51.100.7) and was not",
        ),
    ],
)
def test_machines(found: Machine, presence: Presence, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = MachineExecutor()
    monkeypatch.setattr(executor, "_machines", lambda _request: {found.address: found})
    seen = executor.observe(request_of(MACHINE))
    assert (seen.presence, seen.detail) == (presence, detail)
    assert bool(seen.differences) is (presence is Presence.DEGRADED)


class Mending:
    """A provider with one machine, which can be set up again, and resized only to ``most``."""

    def __init__(self, found: Machine, most: int = 512) -> None:
        self.machine, self.most, self.done = found, most, list[str]()

    def adjust(self, _machine_id: str, setup: Mapping[str, Any]) -> Machine:
        self.done.append(f"adjust {sorted(setup)}")
        memory = min(setup.get("memory_mb", self.most), self.most)
        self.machine = replace(self.machine, setup={**self.machine.setup, **setup, "memory_mb": memory})
        return self.machine

    def start(self, _machine_id: str) -> Machine:
        self.done.append("start")
        self.machine = replace(self.machine, state=MachineState.RUNNING)
        return self.machine


@pytest.mark.parametrize(
    ("found", "done"),
    [
        (machine(), []),
        (machine(MachineState.PAUSED), ["start"]),
        (machine(setup={"memory_mb": 256, "cpus": 1}), ["adjust ['cpus', 'memory_mb']"]),
        (machine(MachineState.STOPPED, setup={"networks": {}}), ["adjust ['networks']", "start"]),
    ],
)
def test_only_what_was_changed_on_a_machine_is_set_again_and_then_it_is_started(
    found: Machine, done: list[str]
) -> None:
    provider = Mending(found)
    assert mended(found, cast("MachineProvider", provider), request_of(MACHINE)) == machine()
    assert provider.done == done


def test_what_the_state_does_not_know_of_a_machine_is_left_as_it_is() -> None:
    found = machine(setup={"memory_mb": 256})
    provider = Mending(found)
    assert mended(found, cast("MachineProvider", provider), request_of(replace(MACHINE, attributes={}))) == found
    assert provider.done == []


def test_a_provider_that_changes_nothing_is_found_out() -> None:
    found = machine(setup={"memory_mb": 128})
    with pytest.raises(ProviderError, match="edge\\[0\\]: memory_mb is 256 instead of 512, though"):
        mended(found, cast("MachineProvider", Mending(found, most=256)), request_of(MACHINE))


def test_providers_are_asked_at_the_same_time_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, asked = Barrier(2, timeout=10), []

    class Provider:
        def __init__(self, name: str) -> None:
            self._name = name

        def find(self, _tag: DeploymentTag) -> list[Machine]:
            asked.append(self._name)
            both.wait()
            return [machine()]

    monkeypatch.setattr(compute, "load_provider", Provider)
    executor = MachineExecutor()
    requests = [request_of(replace(MACHINE, provider=name)) for name in ("one", "two", "one", "two")]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(executor.observe, requests))
    assert [s.presence for s in seen] == [Presence.PRESENT] * 4
    assert sorted(asked) == ["one", "two"]
