"""The whole command line over a pretend continuum, its state kept remotely, from two hosts in turn."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.errors import LockedError
from orchestrator.state.backend import Backend, lock_of, open_backend
from orchestrator.state.postgres_backend import PostgresStorage
from orchestrator.state.remote_store import RemoteStateStore
from orchestrator.state.s3_backend import S3Storage
from tests.unit.recovery.conftest import Deploy, application, deploy, world
from tests.unit.recovery.pretend import KilledError, World
from tests.unit.state.conftest import fresh_place
from tests.unit.state.test_s3 import holding

__all__ = ["application", "deploy", "world"]
NAME = "mask-detection-rehearsal"
REMOTE = ("s3", "postgresql")
Open = Callable[[str], Backend]


@pytest.fixture(params=REMOTE)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, application: Path) -> str:
    """The place that DEPLOY_STATE names."""
    place = fresh_place(request, request.param, tmp_path)
    monkeypatch.setenv("DEPLOY_STATE", place)
    return place


def test_one_host_applies_and_another_goes_on(
    url: str, application: Path, world: World, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deploy("apply", application, "--rehearse", "--auto-approve")
    made = world.addresses()
    assert made
    assert not (tmp_path / ".deploy" / NAME / "state").exists()
    assert not (tmp_path / ".deploy" / NAME / "secrets").exists()

    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "another-host"))
    assert "No changes" in deploy("plan", application, "--rehearse")
    deploy("apply", application, "--rehearse", "--auto-approve")
    assert world.addresses() == made
    listed = json.loads(deploy("state", "list", "--json"))
    assert listed["deployment"] == NAME
    deploy("destroy", NAME, "--auto-approve")
    assert world.addresses() == []
    assert "no deployment" in deploy("state", "list", "--all")

    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / ".deploy"))
    assert "was destroyed before" in deploy("destroy", NAME, "--auto-approve")


def test_of_two_applies_from_two_hosts_one_is_refused(
    url: str, application: Path, world: World, deploy: Deploy, tmp_path: Path
) -> None:
    with holding(url, tmp_path / "another-host", deployment=NAME) as (process, _):
        told = deploy("apply", application, "--rehearse", "--auto-approve", expect=1)
        assert "The deployment is in use" in told
        assert f"process {process.pid}" in told
        assert world.addresses() == []
        assert "create" in deploy("plan", application, "--rehearse")
        process.communicate("\n\n", timeout=20)
    deploy("apply", application, "--rehearse", "--auto-approve")
    assert world.addresses()


def damage() -> None:
    """Spoil the newest snapshot and a step after the one before it, past the program."""
    store = open_backend().state_store(NAME)
    assert isinstance(store, RemoteStateStore)
    storage = store._storage
    index = storage.index()
    newest, step = index.snapshots[-1], index.segments[len(index.segments) // 2]
    if isinstance(storage, S3Storage):
        storage._objects.put(f"snapshots/{newest:012d}.json", b"{}\n")
        storage._objects.put(f"journal/{step:012d}.jsonl", b"nonsense\n")
    elif isinstance(storage, PostgresStorage):
        with storage._database.writing() as transaction:
            transaction.run("UPDATE {schema}.snapshots SET content = 'x' WHERE serial = %s", [newest])
            transaction.run("UPDATE {schema}.journal SET entry = 'nonsense' WHERE serial = %s", [step])


def test_a_damaged_state_does_not_stand_in_the_way_of_a_forced_destroy(
    url: str, application: Path, world: World, deploy: Deploy, tmp_path: Path
) -> None:
    deploy("apply", application, "--rehearse", "--auto-approve")
    damage()
    assert "The state is damaged" in deploy("destroy", NAME, "--auto-approve", expect=1)
    told = deploy("destroy", NAME, "--auto-approve", "--force")
    assert "is taken for the state" in told
    assert world.addresses() == []
    assert (tmp_path / ".deploy" / NAME / "state.damaged-1" / "snapshot.json").exists()
    assert "no deployment" in deploy("state", "list", "--all")


def test_killed_at_some_boundaries_the_next_run_finishes(
    url: str, application: Path, world: World, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append, compact = RemoteStateStore.append, RemoteStateStore.compact

    def dying_append(self: RemoteStateStore, entries: list) -> None:  # type: ignore[type-arg]
        world.pass_boundary(f"before entry {entries[0].serial}")
        append(self, entries)
        world.pass_boundary(f"after entry {entries[0].serial}")

    def dying_compact(self: RemoteStateStore, state: object) -> None:
        world.pass_boundary("before a snapshot")
        compact(self, state)  # type: ignore[arg-type]
        world.pass_boundary("after a snapshot")

    monkeypatch.setattr(RemoteStateStore, "append", dying_append)
    monkeypatch.setattr(RemoteStateStore, "compact", dying_compact)
    for number in random.Random(7).sample(range(2, 60), 5):
        world.revive(number)
        with pytest.raises(KilledError):
            deploy("apply", application, "--rehearse", "--auto-approve", "--parallelism", "1")
        assert max(Counter(world.addresses("Machine")).values(), default=1) == 1
    world.revive()
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "another-host"))
    deploy("apply", application, "--rehearse", "--auto-approve")
    machines = Counter(world.addresses("Machine"))
    assert machines
    assert max(machines.values()) == 1
    assert "No changes" in deploy("plan", application, "--rehearse")


@pytest.mark.parametrize("place", REMOTE, indirect=True)
def test_the_holder_is_told_how_long_ago_it_began(
    place: str, open_place: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orchestrator.state.lock.utc_now", lambda: datetime(2025, 1, 1, tzinfo=UTC))
    monkeypatch.setattr("orchestrator.state.lock.socket.gethostname", lambda: "alpha")
    with lock_of("demo", open_place(place)).acquire("deploy apply --auto-approve", run="r1"):
        monkeypatch.setattr("orchestrator.state.lock.socket.gethostname", lambda: "beta")
        monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "another-home"))
        with pytest.raises(LockedError) as caught:
            lock_of("demo", open_place(place)).acquire("deploy destroy")
    assert "on alpha" in caught.value.detail
    assert "run r1" in caught.value.detail
    assert " ago" in caught.value.detail
    assert "`deploy state unlock demo`" in caught.value.resolution
