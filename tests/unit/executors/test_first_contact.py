"""The first contact with a machine of a cloud, over OpenSSH's own server: its host key is replaced, come what may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest

from orchestrator.errors import RemoteError
from orchestrator.executors.base import Folders, OperationRequest
from orchestrator.executors.first_contact import FIRST, NEXT, meet, renew_host_key, with_recorded_keys
from orchestrator.planning.actions import Action
from orchestrator.planning.desired import Operation
from orchestrator.planning.records import instance_of_record
from orchestrator.providers.base import DeploymentTag
from orchestrator.remote import host_key_rotation
from orchestrator.remote.connection import read_host_key
from orchestrator.remote.failures import HostKeyError
from orchestrator.remote.keys import generate_key
from orchestrator.state.model import InstanceRecord
from orchestrator.topology.model import Value
from tests.secrets_in_memory import memory_secrets
from tests.unit.remote.openssh_server import USER, Server, openssh_server

PRIVATE, PUBLIC = generate_key()


@dataclass
class Guest:
    """A machine as its cloud knows it; ``known`` are the records of the state."""

    server: Server
    folder: Path
    key: Path
    known: dict[str, InstanceRecord]

    @property
    def told(self) -> dict[str, Value]:
        """What the provider tells: the key that it gave the machine."""
        where: dict[str, Value] = {"host": "127.0.0.1", "port": self.server.port, "user": USER}
        return {"machine_id": "i-1", "host_key": self.server.host_key, **where}

    @property
    def shown(self) -> str:
        return read_host_key(self.server.target(None, ""), 10)

    @property
    def record(self) -> InstanceRecord:
        return self.known["cloud[0]"]

    def request(self) -> OperationRequest:
        return OperationRequest(
            DeploymentTag("shop", "l"),
            Action.CREATE,
            "create",
            Operation("create", "continuum.artifacts.Machine", ""),
            instance_of_record(self.record),
            self.record,
            self.known,
            {},
            Folders(self.folder, self.folder, self.folder, self.folder),
            memory_secrets({"ssh-key": PRIVATE}),
            lambda _line: None,
            Event(),
        )

    def write(self, attributes: Mapping[str, Value]) -> None:
        """As the engine does after an operation."""
        self.known["cloud[0]"] = replace(self.record, attributes={**self.record.attributes, **attributes})

    def create(self) -> None:
        self.write(meet(self.request(), self.told, 10, renews=True))

    def start(self) -> None:
        self.write(renew_host_key(self.request()))


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    with openssh_server(tmp_path / "guest", PUBLIC) as server:
        key = tmp_path / "guest" / "host_key"
        reload = f"kill -HUP $(cat {tmp_path}/guest/pid)"
        monkeypatch.setattr(host_key_rotation, "HOST_KEY", str(key))
        monkeypatch.setattr(host_key_rotation, "RELOAD", reload)
        record = InstanceRecord("cloud[0]", "cloud", "continuum.nodes.VirtualMachine", "aws/eu-central-1")
        yield Guest(server, tmp_path, key, {"cloud[0]": record})


def test_the_key_that_the_cloud_knows_is_replaced_and_the_new_one_recorded(guest: Guest) -> None:
    guest.create()
    first, following = guest.record.attributes[FIRST], guest.record.attributes[NEXT]
    assert (first, guest.shown) == (guest.server.host_key, guest.server.host_key)
    assert following not in ("", first)
    guest.start()
    assert guest.shown == guest.record.attributes["host_key"] == following
    assert guest.record.attributes[NEXT] == ""
    assert guest.server.host_key not in guest.key.with_suffix(".pub").read_text(encoding="ascii")
    assert [f.name for f in guest.key.parent.glob("host_key.*")] == ["host_key.pub"]


def test_what_the_cloud_tells_afterwards_is_no_drift_and_counts_no_more(guest: Guest) -> None:
    guest.create()
    guest.start()
    assert with_recorded_keys(guest.told, guest.record)["host_key"] == guest.record.attributes["host_key"]
    before = guest.record
    guest.create()
    guest.start()
    assert guest.record == before
    forged = {**guest.told, "host_key": generate_key()[1]}
    guest.write(meet(guest.request(), forged, 10, renews=True))
    assert guest.record == before, "who may write tags cannot have another key trusted"
    with pytest.raises(RemoteError):
        meet(guest.request(), {**forged, "machine_id": "i-2"}, 2, renews=True)


def test_a_cut_before_anything_was_recorded_is_gone_on_with(guest: Guest) -> None:
    meet(guest.request(), guest.told, 10, renews=True)
    guest.create()
    guest.start()
    assert guest.shown == guest.record.attributes["host_key"] != guest.server.host_key


def test_a_cut_before_the_shown_key_was_recorded_is_gone_on_with(guest: Guest) -> None:
    guest.create()
    recorded = guest.record
    guest.start()
    guest.known["cloud[0]"] = recorded
    guest.create()
    guest.start()
    assert guest.shown == guest.record.attributes["host_key"] == recorded.attributes[NEXT]
    assert guest.record.attributes[NEXT] == ""


def test_another_key_than_the_two_is_refused(guest: Guest) -> None:
    guest.create()
    other = {**guest.record.attributes, "host_key": generate_key()[1], NEXT: generate_key()[1]}
    guest.known["cloud[0]"] = replace(guest.record, attributes=other)
    with pytest.raises(HostKeyError):
        guest.create()


def test_a_new_key_that_was_lost_is_said_and_made_again(guest: Guest) -> None:
    guest.create()
    Path(f"{guest.key}.next").unlink()
    with pytest.raises(RemoteError, match="the key that was made for it is gone"):
        guest.start()
    assert guest.shown == guest.server.host_key
    guest.create()
    guest.start()
    assert guest.shown == guest.record.attributes["host_key"] != guest.server.host_key


def test_a_machine_behind_the_front_end_is_met_through_it_as_it_is_recorded_now(guest: Guest, tmp_path: Path) -> None:
    guest.create()
    guest.start()
    front = guest.record
    behind = InstanceRecord("cloud[0]", "cloud", "T", "aws/x", inputs={"requirements.front": ["front"]})
    with openssh_server(tmp_path / "behind", PUBLIC) as server:
        inner = Guest(server, tmp_path, tmp_path / "behind" / "host_key", {"front": front, "cloud[0]": behind})
        inner.write(meet(inner.request(), inner.told, 10, renews=False))
        assert inner.record.attributes["host_key"] == server.host_key
        assert "jump_host_keys" not in inner.record.attributes
        stale = replace(front, attributes={**front.attributes, "host_key": guest.server.host_key})
        inner.known["front"] = stale
        with pytest.raises(HostKeyError):
            meet(inner.request(), inner.told, 10, renews=False)
