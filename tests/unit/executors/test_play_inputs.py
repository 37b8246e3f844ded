"""Which machines a play runs over, and what stands in for references in its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest

from orchestrator.errors import OperationError
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.play_inputs import InputResolver, find_machines, missing_machines
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.providers.base import DeploymentTag
from orchestrator.resources import data_path
from orchestrator.standin_files import standin_path
from orchestrator.state.model import InstanceRecord
from tests.secrets_in_memory import memory_secrets


def machine(address: str) -> InstanceRecord:
    return InstanceRecord(
        address, address.partition("[")[0], "M", attributes={"host": "10.0.0.2", "host_key": "ssh-ed25519 A"}
    )


KNOWN = {
    "edge[1]": machine("edge[1]"),
    "edge[0]": machine("edge[0]"),
    "cloud": machine("cloud"),
    "image": InstanceRecord("image", "image", "I", attributes={"archive": "a.tar"}),
}
DESIRED = {
    "edge-k3s": DesiredInstance("edge-k3s", "edge-k3s", "K", requirements={"machine": ("edge[0]", "edge[1]")}),
    "edge-oscar": DesiredInstance("edge-oscar", "edge-oscar", "O", requirements={"host": ("edge-k3s",)}),
    "cloud-k3s": DesiredInstance("cloud-k3s", "cloud-k3s", "K", requirements={"machine": ("cloud",)}),
    "next": DesiredInstance("next", "next", "S", requirements={"host": ("cloud-k3s",)}),
    "service": DesiredInstance(
        "service", "service", "S", requirements={"connects_to": ("next",), "host": ("edge-oscar",), "image": ("image",)}
    ),
}


def build_request(
    instance: DesiredInstance,
    known: Mapping[str, InstanceRecord] = KNOWN,
    desired: Mapping[str, DesiredInstance] = DESIRED,
) -> OperationRequest:
    here = Path()
    return OperationRequest(
        tag=DeploymentTag("app", "lineage"),
        action=Action.CREATE,
        operation="configure",
        implementation=Operation("configure", "continuum.artifacts.AnsiblePlaybook", "playbooks/site.yml"),
        instance=instance,
        record=known.get(instance.address, InstanceRecord(instance.address, instance.node, instance.type)),
        known=known,
        desired=desired,
        folders=Folders(here, here, here, here),
        secrets=memory_secrets({"k3s": "value-of-k3s"}),
        progress=lambda _line: None,
        cancel=Event(),
    )


def test_a_cluster_runs_on_its_machines_in_their_order() -> None:
    assert [m.address for m in find_machines(build_request(DESIRED["edge-k3s"]))] == ["edge[0]", "edge[1]"]


def test_a_service_reaches_the_machines_of_its_own_cluster_only() -> None:
    assert [m.address for m in find_machines(build_request(DESIRED["service"]))] == ["edge[0]", "edge[1]"]


def test_what_nobody_wants_any_longer_is_followed_through_the_state() -> None:
    recorded = {"requirements.machine": ["edge[0]", "edge[1]"]}
    known = {
        **KNOWN,
        "edge-k3s": InstanceRecord("edge-k3s", "edge-k3s", "K", inputs=recorded),
        "edge-oscar": InstanceRecord("edge-oscar", "edge-oscar", "O", dependencies=("edge-k3s",)),
    }
    gone = DesiredInstance("edge-oscar", "edge-oscar", "O")
    assert [m.address for m in find_machines(build_request(gone, known, {}))] == ["edge[0]", "edge[1]"]


def test_machines_that_are_gone_are_left_out() -> None:
    known = {"edge[1]": KNOWN["edge[1]"]}
    assert [m.address for m in find_machines(build_request(DESIRED["edge-k3s"], known))] == ["edge[1]"]


def test_references_are_replaced_wherever_they_are() -> None:
    resolver = InputResolver(build_request(DESIRED["service"]))
    assert resolver.resolve_all(
        {
            "token": "secret:k3s",
            "list": ["resource:standins/k3s_standin", {"deep": "resource:playbooks/site.yml"}],
            "archive": {"get_attribute": ["image", "archive"]},
            "hosts": {"get_attribute": ["edge", "host"]},
            "plain": 3,
        }
    ) == {
        "token": "value-of-k3s",
        "list": [str(standin_path("k3s_standin")), {"deep": str(data_path("playbooks", "site.yml"))}],
        "archive": "a.tar",
        "hosts": ["10.0.0.2", "10.0.0.2"],
        "plain": 3,
    }
    assert resolver.secrets == ["value-of-k3s"]


@pytest.mark.parametrize("arguments", [["image", "digest"], ["nowhere", "x"], ["image"], "image"])
def test_an_attribute_that_is_not_there_is_an_error(arguments: list[str] | str) -> None:
    resolver = InputResolver(build_request(DESIRED["service"]))
    with pytest.raises(OperationError, match="get_attribute"):
        resolver.resolve({"get_attribute": list(arguments) if isinstance(arguments, list) else arguments})


BOARDS = {f"edge[{n}]": DesiredInstance(f"edge[{n}]", "edge", "M", index=n, provider="local") for n in range(2)}


def without(address: str) -> OperationRequest:
    """A request over machines of which one is wanted and was never made."""
    known = {a: record for a, record in KNOWN.items() if a != address}
    return build_request(DESIRED["edge-oscar"], known, {**DESIRED, **BOARDS})


def test_machines_that_are_wanted_and_not_there_are_named() -> None:
    assert missing_machines(build_request(DESIRED["edge-oscar"])) == ()
    assert missing_machines(without("edge[1]")) == ("edge[1]",)
    assert [m.address for m in find_machines(without("edge[1]"))] == ["edge[0]"]


def test_the_first_machine_is_not_done_without() -> None:
    with pytest.raises(OperationError, match=r"edge-oscar needs edge\[0\], which carries the cluster's server"):
        missing_machines(without("edge[0]"))
