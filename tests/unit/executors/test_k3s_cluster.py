"""What is particular to the plays of a K3s cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import OperationError
from orchestrator.executors.ansible import AnsibleExecutor
from orchestrator.executors.k3s_cluster import (
    configuration_differences,
    labels_of,
    lost_majority,
    needs_upgrade,
    server_addresses,
)
from orchestrator.executors.play_inputs import missing_machines
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value
from tests.unit.executors.test_drift import request_of

CLUSTER = InstanceRecord("edge", "edge", "T", attributes={"k3s_version_asked": "v1.31.5+k3s1"})


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        ({}, {}),
        ({"capabilities.os.architecture": "arm64"}, {"continuum/architecture": "arm64"}),
        (
            {"capabilities.os.architecture": "arm64", "settings.architecture": "amd64"},
            {"continuum/architecture": "amd64"},
        ),
        (
            {"properties.num_gpus": 2, "properties.gpu_vendor": "NVIDIA (R)", "properties.sgx": True},
            {"continuum/gpus": "2", "continuum/gpu-vendor": "NVIDIA--R", "continuum/sgx": "true"},
        ),
        ({"properties.num_gpus": 0, "properties.sgx": False}, {}),
    ],
)
def test_a_machine_is_labelled_by_what_it_has(inputs: dict[str, Value], labels: dict[str, str]) -> None:
    assert labels_of(InstanceRecord("pi[0]", "pi", "T", inputs=inputs)) == labels


@pytest.mark.parametrize(
    ("action", "wanted", "upgrade"),
    [
        (Action.UPDATE, "v1.32.1+k3s1", True),
        (Action.UPDATE, "v1.31.5+k3s1", False),
        (Action.UPDATE, "", False),
        (Action.CREATE, "v1.32.1+k3s1", False),
    ],
)
def test_another_version_of_a_cluster_that_is_there_is_an_upgrade(action: Action, wanted: str, upgrade: bool) -> None:
    assert needs_upgrade(replace(request_of(CLUSTER), action=action), wanted) is upgrade


def test_a_cluster_of_an_older_state_is_not_upgraded_by_guess() -> None:
    unknown = replace(CLUSTER, attributes={})
    assert not needs_upgrade(replace(request_of(unknown), action=Action.UPDATE), "v1.32.1+k3s1")


def test_servers_keep_their_place_when_one_of_them_is_not_there() -> None:
    machines = [InstanceRecord(f"pi[{i}]", "pi", "T", attributes={"host": "a", "host_key": "b"}) for i in (0, 2)]
    wanted = DesiredInstance(
        "edge", "edge", "T", properties={"servers": 3}, requirements={"machine": ("pi[0]", "pi[1]", "pi[2]", "pi[3]")}
    )
    lacking = {f"pi[{i}]": DesiredInstance(f"pi[{i}]", "pi", "T", provider="local") for i in (1, 3)}
    known = {**{machine.address: machine for machine in machines}, "edge": CLUSTER}
    request = replace(request_of(CLUSTER, wanted), known=known, desired=lacking)
    assert missing_machines(request) == ("pi[1]", "pi[3]")
    assert server_addresses(request, machines) == ("pi[0]", "pi[1]", "pi[2]"), "pi[3] is no server for that"
    one = replace(
        request, known={"pi[0]": machines[0], "edge": CLUSTER}, desired={**lacking, "pi[2]": lacking["pi[1]"]}
    )
    with pytest.raises(OperationError, match=r"Of 3 servers 2 must be there, and pi\[1\], pi\[2\] cannot be reached"):
        AnsibleExecutor().run(one)
    removed = replace(wanted, requirements={})
    assert server_addresses(replace(request, instance=removed), machines) == ("pi[0]", "pi[2]")


@pytest.mark.parametrize(
    ("count", "away", "why"),
    [
        (1, [], ""),
        (1, [0], "pi[0] carries the cluster's server."),
        (3, [1], ""),
        (3, [1, 2], "Of 3 servers 2 must be there, and pi[1], pi[2] cannot be reached."),
        (5, [1, 2], ""),
        (5, [1, 2, 4], "Of 5 servers 3 must be there, and pi[1], pi[2], pi[4] cannot be reached."),
    ],
)
def test_a_cluster_needs_a_majority_of_its_servers(count: int, away: list[int], why: str) -> None:
    servers = [f"pi[{index}]" for index in range(count)]
    assert lost_majority(servers, {f"pi[{index}]" for index in away} | {"pi[9]"}) == why


def test_without_a_recorded_configuration_no_machine_is_asked() -> None:
    assert configuration_differences(request_of(CLUSTER), [InstanceRecord("pi[0]", "pi", "T")], 1.0) == ()
