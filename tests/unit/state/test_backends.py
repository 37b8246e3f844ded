"""What every place for the state promises, held against all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import LockedError, StateError
from orchestrator.state.backend import Backend, lock_of
from orchestrator.state.journal import Begun, InstancePut, InstanceRemoved, JournalEntry
from orchestrator.state.model import InstanceRecord, Lifecycle, Pending, State
from orchestrator.state.session import DeploymentSession
from tests.unit.state.conftest import PLACES

pytestmark = pytest.mark.parametrize("place", PLACES, indirect=True)
Open = Callable[[str], Backend]


def instance(number: int, **attributes: str) -> InstanceRecord:
    return InstanceRecord(
        f"edge[{number}]",
        "edge",
        "continuum.nodes.Machine",
        provider="local",
        inputs={"properties.memory_mb": 1024, "requirements.host": ["site"], "text": "ä\u2028\n\0"},
        attributes=dict(attributes),
        dependencies=("site",),
    )


def filled(backend: Backend, name: str = "demo") -> DeploymentSession:
    """A state with snapshots, a version, and three steps in the journal."""
    session = DeploymentSession(backend.state_store(name), name)
    session.set_template("template", "local", {"k3s": "standin"}, "/app")
    session.record(instance(0, host="10.0.0.2"))
    session.keep_version("run-1")
    session.snapshot()
    session.record(replace(instance(1), lifecycle=Lifecycle.CREATING, pending=Pending("create", "t", "run-2")))
    session.record(instance(2))
    session.remove("edge[2]")
    return session


def entries(after: State, *records: InstanceRecord) -> list[JournalEntry]:
    return [
        JournalEntry(after.serial + number, after.lineage, "2025-01-01T00:00:00Z", InstancePut(record))
        for number, record in enumerate(records, 1)
    ]


def test_nothing_there_is_no_state_and_reading_makes_none(place: str, open_place: Open) -> None:
    backend = open_place(place)
    assert backend.deployments() == ()
    store = backend.state_store("demo")
    assert store.load() is None
    assert store.warnings == ()
    store.delete()
    assert open_place(place).deployments() == ()


def test_what_was_written_is_read_elsewhere(place: str, open_place: Open) -> None:
    session = filled(open_place(place))
    assert open_place(place).state_store("demo").load() == session.state
    assert session.state.serial == 7
    assert len(session.state.versions) == 1
    assert open_place(place).deployments() == ("demo",)


def test_every_step_is_there_when_the_call_returns(place: str, open_place: Open) -> None:
    backend = open_place(place)
    session = DeploymentSession(backend.state_store("demo"), "demo")
    reader = open_place(place).state_store("demo")
    for number in range(4):
        session.record(instance(number))
        assert reader.load() == session.state


def test_compaction_changes_nothing_that_is_read(place: str, open_place: Open) -> None:
    session = filled(open_place(place))
    reader = open_place(place).state_store("demo")
    for _ in range(3):
        session.snapshot()
        assert reader.load() == session.state
        session.record(instance(5))
        assert reader.load() == session.state
        session.remove("edge[5]")
    session.snapshot()
    session.snapshot()
    assert reader.load() == session.state
    assert reader.warnings == ()


def test_a_step_that_somebody_else_made_is_refused(place: str, open_place: Open) -> None:
    filled(open_place(place))
    first, second = open_place(place).state_store("demo"), open_place(place).state_store("demo")
    state = first.load()
    assert state is not None
    assert second.load() == state
    first.append(entries(state, instance(8)))
    with pytest.raises(StateError, match="changed by somebody else") as caught:
        second.append(entries(state, instance(9)))
    assert "Repeat the command" in caught.value.resolution
    with pytest.raises(StateError, match="changed by somebody else"):
        second.compact(state)
    after = open_place(place).state_store("demo").load()
    assert after is not None
    assert after.serial == state.serial + 1
    assert "edge[8]" in after.instances
    assert "edge[9]" not in after.instances


def test_several_steps_are_kept_together(place: str, open_place: Open) -> None:
    session = filled(open_place(place))
    store = open_place(place).state_store("demo")
    state = store.load()
    assert state is not None
    store.append([])
    store.append([*entries(state, instance(5), instance(6))])
    store.append([JournalEntry(state.serial + 3, state.lineage, "", InstanceRemoved("edge[0]"))])
    after = open_place(place).state_store("demo").load()
    assert after is not None
    assert set(after.instances) == {"edge[1]", "edge[5]", "edge[6]"}
    assert after.serial == session.state.serial + 3


@pytest.mark.parametrize("wrong", ["gap", "again", "lineage", "begun"])
def test_steps_that_do_not_follow_are_refused(place: str, open_place: Open, wrong: str) -> None:
    filled(open_place(place))
    store = open_place(place).state_store("demo")
    state = store.load()
    assert state is not None
    entry = entries(state, instance(5))[0]
    bad = {
        "gap": replace(entry, serial=entry.serial + 1),
        "again": replace(entry, serial=entry.serial - 1),
        "lineage": replace(entry, lineage="other"),
        "begun": JournalEntry(1, "other", "", Begun("demo")),
    }[wrong]
    with pytest.raises(StateError, match="changed by somebody else"):
        store.append([bad])
    assert open_place(place).state_store("demo").load() == state


def test_a_deleted_state_is_gone_and_another_may_begin(place: str, open_place: Open) -> None:
    backend = open_place(place)
    session = filled(backend)
    filled(backend, "other")
    session.delete()
    assert open_place(place).state_store("demo").load() is None
    assert open_place(place).deployments() == ("other",)
    again = DeploymentSession(open_place(place).state_store("demo"), "demo")
    again.record(instance(0))
    assert again.state.lineage != session.state.lineage
    assert open_place(place).state_store("demo").load() == again.state


@pytest.mark.parametrize("change", ["newer", "older", "lineage", "empty"])
def test_a_state_put_in_place_is_what_is_read(place: str, open_place: Open, change: str) -> None:
    backend = open_place(place)
    if change != "empty":
        filled(backend)
    wanted = filled(open_place(place), "model").state
    kept = backend.state_store("demo").load()
    lineage = kept.lineage if kept is not None and change != "lineage" else wanted.lineage
    wanted = replace(wanted, deployment="demo", lineage=lineage, serial=3 if change == "older" else 40)
    backend.state_store("demo").install(wanted)
    store = open_place(place).state_store("demo")
    assert store.load() == wanted
    assert store.warnings == ()
    store.append(entries(wanted, instance(7)))
    assert store.load() == open_place(place).state_store("demo").load()
    session = DeploymentSession(open_place(place).state_store("demo"), "demo")
    session.snapshot()
    session.record(instance(8))
    after = open_place(place).state_store("demo").load()
    assert after is not None
    assert after.serial == wanted.serial + 2


def test_documents_are_replaced_only_by_whoever_read_them_last(place: str, open_place: Open) -> None:
    document = open_place(place).secrets_document("demo")
    assert document.read() is None
    document.delete()
    first = document.write(b"one\0\xff", "")
    other = open_place(place).secrets_document("demo")
    stored = other.read()
    assert stored is not None
    assert (stored.content, stored.version) == (b"one\0\xff", first)
    second = other.write(b"two", stored.version)
    for previous in ("", first):
        with pytest.raises(StateError, match="Somebody else"):
            document.write(b"three", previous)
    stored = document.read()
    assert stored is not None
    assert (stored.content, stored.version) == (b"two", second)
    assert open_place(place).secrets_document("other").read() is None
    other.delete()
    assert document.read() is None
    document.write(b"again", "")


def test_the_lock_is_held_by_one(place: str, open_place: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("orchestrator.state.postgres_backend._LOOKS", 2, raising=False)
    first = lock_of("demo", open_place(place)).acquire("deploy apply", run="r1")
    assert first.fds
    with pytest.raises(LockedError):
        lock_of("demo", open_place(place)).acquire("deploy destroy")
    monkeypatch.setenv("DEPLOY_HOME", str(tmp_path / "another-home"))
    with pytest.raises(LockedError) as caught:
        lock_of("demo", open_place(place)).acquire("deploy destroy")
    assert "deploy apply" in caught.value.detail
    with lock_of("other", open_place(place)).acquire("deploy apply"):
        pass
    first.release()
    first.release()
    assert first.fds == ()
    with lock_of("demo", open_place(place)).acquire("deploy destroy") as second:
        assert second.warnings == ()
