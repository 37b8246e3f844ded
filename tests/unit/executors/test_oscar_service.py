"""How a service is registered at an OSCAR that does not answer yet."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from orchestrator.clients.oscar import OscarClient, OscarUnreachableError
from orchestrator.engine.retries import RetryPolicy
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.oscar_service import OscarServiceExecutor
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.providers.base import DeploymentTag
from orchestrator.state.model import InstanceRecord
from tests.secrets_in_memory import memory_secrets

TYPE = "continuum.nodes.OscarService"
SERVICE = DesiredInstance(
    "first",
    "first",
    TYPE,
    properties={
        "service": "first",
        "memory_mb": 512,
        "cpu": 1,
        "script": "true",
        "input_path": "first/input",
        "output_path": "first/output",
    },
    requirements={"host": ("oscar",), "image": ("image",)},
)
KNOWN = {
    "oscar": InstanceRecord(
        "oscar",
        "oscar",
        "continuum.nodes.Oscar",
        inputs={"properties.password": "secret:password", "properties.store_secret_key": "secret:key"},
        attributes={"endpoint": "https://127.0.0.1:1"},
    ),
    "image": InstanceRecord("image", "image", "continuum.nodes.ComponentImage", attributes={"reference": "shell:1"}),
}


def request(folder: Path) -> OperationRequest:
    return OperationRequest(
        tag=DeploymentTag("test", "lineage"),
        action=Action.CREATE,
        operation="configure",
        implementation=Operation("configure", "continuum.artifacts.OscarService", "service"),
        instance=SERVICE,
        record=InstanceRecord("first", "first", TYPE),
        known=KNOWN,
        desired={},
        folders=Folders(folder, folder, folder, folder),
        secrets=memory_secrets({"password": "x" * 8, "key": "y" * 8}),
        progress=lambda _line: None,
        cancel=Event(),
    )


def test_only_the_general_retries_wait_for_an_oscar_and_say_for_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []

    def refuse(client: OscarClient, service: dict[str, object]) -> None:
        asked.append(service["name"])
        raise OscarUnreachableError(client.endpoint, "Connection refused", transient=True)

    monkeypatch.setattr(OscarClient, "put_service", refuse)
    pauses: list[float] = []

    def pause(_cancel: Event, seconds: float) -> bool:
        pauses.append(seconds)
        return False

    policy = RetryPolicy(clock=lambda: sum(pauses), pause=pause, draw=lambda: 1.0)
    wanted = request(tmp_path)
    with pytest.raises(OscarUnreachableError) as caught:
        policy.run(lambda: OscarServiceExecutor().run(wanted), wanted.cancel, lambda *_: None)
    assert asked == ["first"] * 5
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert "It was to register the service first." in caught.value.detail
    assert "Tried 5 times within 15 s." in caught.value.detail
