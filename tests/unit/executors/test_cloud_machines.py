"""Machines of a cloud through the executor: what a hand changed is told, and what an apply sets back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from orchestrator.executors import compute
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.compute import MachineExecutor, attributes_of, mended
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import DesiredInstance, Operation
from orchestrator.planning.observation import Observation, Presence
from orchestrator.providers.base import SECURITY_RULES, DeploymentTag, MachineState
from orchestrator.providers.registry import PROVIDERS
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending
from orchestrator.topology.model import Value
from tests.secrets_in_memory import memory_secrets
from tests.unit.pretend_cloud import PROVIDER, PretendCloud, Sky

CREATE = Operation("create", "continuum.artifacts.Machine", "machine")
WANTED = DesiredInstance(
    "cloud[0]",
    "cloud",
    "continuum.nodes.VirtualMachine",
    provider="aws/one",
    properties={"flavor": "big"},
    settings={"ssh_from": "203.0.113.7/32"},
    operations={"create": CREATE},
)


@pytest.fixture
def sky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sky]:
    monkeypatch.setitem(PROVIDERS, "aws", PROVIDER)
    Sky.current = Sky()
    yield Sky.current
    del Sky.current


def request(record: InstanceRecord, folder: Path, wanted: DesiredInstance = WANTED) -> OperationRequest:
    return OperationRequest(
        DeploymentTag("shop", "l"),
        Action.UPDATE,
        "create",
        CREATE,
        wanted,
        record,
        {record.address: record},
        {},
        Folders(folder, folder, folder, folder),
        memory_secrets({}),
        lambda _line: None,
        Event(),
    )


def made(folder: Path) -> InstanceRecord:
    """As it is after an apply, with a host key that the machine has made itself since."""
    pending = Pending("create", "token", "run")
    record = InstanceRecord("cloud[0]", "cloud", WANTED.type, "aws/one", inputs=WANTED.inputs, pending=pending)
    machine = PretendCloud("one").create(compute._asked_for(request(record, folder), "", PretendCloud("one")))
    own = {"host_key": "ssh-ed25519 OWN", "first_host_key": machine.host_key, "next_host_key": ""}
    attributes = attributes_of(machine, "cloud-0") | own
    return replace(record, attributes=attributes, lifecycle=Lifecycle.STARTED, pending=None)


def look(record: InstanceRecord, folder: Path) -> Observation:
    return MachineExecutor().observe(request(record, folder))


def change(sky: Sky, state: MachineState = MachineState.RUNNING, **setup: Value) -> None:
    (key,) = sky.machines
    owner, machine = sky.machines[key]
    sky.machines[key] = owner, replace(machine, state=state, setup={**machine.setup, **setup})


def test_what_a_hand_did_is_told_in_words(sky: Sky, tmp_path: Path) -> None:
    record = made(tmp_path)
    assert look(record, tmp_path).presence is Presence.PRESENT, "its own host key is no drift"
    change(sky, flavor="tiny")
    assert look(record, tmp_path).detail == "flavor is tiny instead of big"
    change(sky, flavor="big", **{SECURITY_RULES: ["tcp 22 from 0.0.0.0/0", "tcp 22 from 203.0.113.7/32"]})
    seen = look(record, tmp_path)
    assert (seen.presence, seen.detail) == (
        Presence.DEGRADED,
        "security_rules has tcp 22 from 0.0.0.0/0, which it had not",
    )
    change(sky, MachineState.STOPPED, **{SECURITY_RULES: ["tcp 22 from 203.0.113.7/32"]})
    assert look(record, tmp_path).detail == "the machine is stopped"
    sky.machines.clear()
    assert look(record, tmp_path).presence is Presence.MISSING


def test_what_a_hand_did_is_set_back_in_place(sky: Sky, tmp_path: Path) -> None:
    record = made(tmp_path)
    change(sky, MachineState.STOPPED, flavor="tiny", **{SECURITY_RULES: []})
    again = replace(record, pending=Pending("update", "token", "run"))
    provider = PretendCloud("one")
    machine = provider.create(compute._asked_for(request(again, tmp_path), "", provider))
    machine = mended(machine, provider, request(again, tmp_path))
    assert machine.setup == {"flavor": "big", SECURITY_RULES: ["tcp 22 from 203.0.113.7/32"]}
    assert machine.state is MachineState.RUNNING
    assert len(sky.machines) == 1
    assert look(record, tmp_path).presence is Presence.PRESENT


def test_who_reaches_it_is_as_wanted_now_and_not_as_recorded(sky: Sky, tmp_path: Path) -> None:
    record = made(tmp_path)
    wanted = replace(WANTED, settings={"ssh_from": "198.51.100.0/24"})
    again = replace(record, pending=Pending("update", "token", "run"), inputs=wanted.inputs)
    asked, provider = request(again, tmp_path, wanted), PretendCloud("one")
    machine = mended(provider.create(compute._asked_for(asked, "", provider)), provider, asked)
    assert machine.setup[SECURITY_RULES] == ["tcp 22 from 198.51.100.0/24"]
    assert len(sky.machines) == 1


def test_no_host_key_is_kept_that_the_cloud_was_given(sky: Sky, tmp_path: Path) -> None:
    record = made(tmp_path)
    asked = compute._asked_for(request(replace(record, pending=None), tmp_path), "", PretendCloud("one"))
    assert asked.host_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "PRIVATE" not in repr(asked)
    assert "PRIVATE" not in repr(record)
    assert "PRIVATE" not in repr(sky)
